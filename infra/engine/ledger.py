"""The progress of an apply: its report, and the servers on which nothing more is done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping

from infra.engine.groups import Group
from infra.errors import DynoctlError, Unreachable
from infra.model import naming
from infra.model.events import Event, Failure, Listener, Report
from infra.model.resource import Change


class Ledger:
    """The only mutable state of the phases of one apply. Its methods are thread-safe.

    Every text from a server is redacted with ``redact`` before it is stored or passed to ``listener``. If more dynos
    than ``tolerance`` fail, the rollout halts."""

    def __init__(self, listener: Listener, redact: Callable[[str], str], tolerance: int = 0) -> None:
        self.report = Report()
        self._tolerance = tolerance
        self._broken: set[str] = set()
        self._down: set[str] = set()
        self._listener = listener
        self._redact = redact
        self._lost: set[str] = set()
        self._failing: set[str] = set()
        self._made: set[str] = set()
        """The addresses of ``report.done``."""
        self._omitted: set[str] = set()
        """The addresses of ``report.skipped``."""
        self._refused = False
        self._mutex = threading.Lock()

    @property
    def lost(self) -> frozenset[str]:
        """The servers to which nothing more is sent."""
        return frozenset(self._lost)

    @property
    def refused(self) -> bool:
        """Whether a release gate failed, so that nothing more is changed on any server."""
        return self._refused

    def usable(self, server: str) -> bool:
        """Whether changes may still be made on a server."""
        return not self._refused and server not in self._lost

    def failed_subjects(self) -> set[str]:
        """The dynos and resources that failed or were skipped."""
        with self._mutex:
            failed = {failure.subject for failure in self.report.failures}
            return failed | {change.resource.dyno or "" for change in self.report.skipped}

    @property
    def down(self) -> frozenset[str]:
        """The dynos that were changed and did not become or stay healthy."""
        return frozenset(self._down)

    @property
    def broken(self) -> frozenset[str]:
        """The dynos that failed."""
        return frozenset(self._broken)

    @property
    def failing(self) -> frozenset[str]:
        """The servers that are lost although they are reachable."""
        return frozenset(self._failing)

    def affords(self, dynos: Iterable[str]) -> bool:
        """Whether more dynos may fail."""
        return len(self._broken.union(dynos)) <= self._tolerance

    @property
    def exceeded(self) -> bool:
        """Whether more dynos failed than may."""
        return len(self._broken) > self._tolerance

    def is_broken(self, group: Group) -> bool:
        """Whether the group's dyno failed."""
        return group.dyno in self._broken

    def was_made(self, group: Group) -> bool:
        """Whether all of a group's changes were made."""
        return all(change.address in self._made for change in group.changes)

    def succeeded(self, group: Group, verb: str = "") -> None:
        """Note that the changes of a group were made. ``verb`` is what was done, as a participle, if it is not what
        was planned."""
        with self._mutex:
            self.report.done += group.changes
            self._made |= {change.address for change in group.changes}
        self._listener(Event("done", group.server, group.subject, verb or group.verb))

    def skip(self, group: Group) -> None:
        """Note that a group was skipped."""
        with self._mutex:
            self._omit(group)
        self._listener(Event("skipped", group.server, group.subject))

    def failed(self, group: Group, summary: str, detail: str, *, down: bool = False) -> None:
        """Note that a step of a group failed on a reachable server. A dyno that fails halts the rollout unless that is
        tolerated; for a resource that dynos depend on, its server is lost. ``down``: the dyno was changed and is not
        healthy. The texts are already redacted."""
        with self._mutex:
            if group.boots:
                self._break([group.subject])
                self._down |= {group.subject} if down else set()
                self.report.halted |= self.exceeded
            if group.dyno is None:
                self._lost.add(group.server)
                self._failing.add(group.server)
            self.report.failures.append(Failure(group.server, group.subject, summary, detail))
            self._omit(group)
        self._listener(Event("failed", group.server, group.subject, summary))

    def lose(self, server: str, subject: str, error: DynoctlError) -> None:
        """Note that a server was lost: nothing more is sent to it, and the others continue."""
        summary = self._redact(error.summary)
        with self._mutex:
            self._lost.add(server)
            if not isinstance(error, Unreachable):
                self._failing.add(server)
            self.report.failures.append(
                Failure(server, subject, summary, self._redact(error.hint), unreachable=isinstance(error, Unreachable))
            )
        self._listener(Event("failed", server, subject, summary))

    def lose_midway(self, server: str, error: DynoctlError) -> None:
        """Note that a server was lost during a step whose result is unknown."""
        self.report.halted = True
        self.lose(server, "apply", error)

    def interrupted_midway(self, group: Group, error: DynoctlError) -> None:
        """Note that a server was lost while it carried out a group."""
        self.lose(group.server, group.subject, error)
        with self._mutex:
            self._omit(group)

    def exclude(self, dynos: Iterable[str], failure: Failure | None = None) -> None:
        """Note that dynos cannot be changed, before any was."""
        with self._mutex:
            self._break(dynos)
            if failure is not None:
                self.report.failures.append(failure)
        if failure is not None:
            self._listener(Event("failed", failure.server, failure.subject, failure.summary))

    def count_lost(self, dynos: Mapping[str, Iterable[str]]) -> None:
        """Count the dynos of servers that were lost, by server, as dynos that failed, if any may fail. Without such a
        budget a lost server stops nothing, as one that was unreachable from the beginning."""
        lost = (self._lost - self._failing) & dynos.keys() if self._tolerance else ()
        if lost:
            with self._mutex:
                self._break(dyno for server in lost for dyno in dynos[server])
                self.report.halted |= self.exceeded
                self.report.absent = [] if self.exceeded else sorted(lost)

    def _break(self, dynos: Iterable[str]) -> None:
        self._broken |= set(dynos)
        self.report.tolerated = [] if self.exceeded else sorted(self._broken, key=naming.dyno_order)

    def refuse(self, failure: Failure) -> None:
        """Note that a release gate failed: nothing more is changed on any server."""
        summary, detail = self._redact(failure.summary), self._redact(failure.detail)
        with self._mutex:
            self.report.failures.append(
                Failure(failure.server, failure.subject, summary, detail, rejected=failure.rejected)
            )
            self._refused = True
        self._listener(Event("failed", failure.server, failure.subject, summary))

    def reverted(self, group: Group, *, withdrawn: bool = False) -> None:
        """Note that a dyno was reverted to what it ran before; if it was ``withdrawn``, only that one."""
        self._unmake(group)
        with self._mutex:
            if not withdrawn:
                self.report.reverted.append(group.subject)
        self._listener(Event("done", group.server, group.subject, "removed" if withdrawn else "reverted"))

    def discarded(self, group: Group) -> None:
        """Note that what was created for a failed release was removed."""
        self._unmake(group)

    def strand(self, group: Group, failure: Failure | None = None) -> None:
        """Note that a dyno could not be reverted."""
        self._unmake(group)
        with self._mutex:
            if failure is not None:
                self.report.failures.append(failure)
            self.report.stranded.append(f"{group.subject} on {group.server}")

    def sent_by_ssh(self, server: str, reason: str) -> None:
        """Note why a server did not pull the slug; ``here``: why none did."""
        with self._mutex:
            self.report.by_ssh[server] = self._redact(reason)

    def say_release(self, text: str) -> None:
        """Store the output of the release command."""
        self.report.release_output = self._redact(text.strip("\n"))

    def settle(self, results: Iterable[tuple[str, object]]) -> None:
        """Note that the servers whose records could not be written are lost."""
        for server, result in results:
            if isinstance(result, DynoctlError):
                self.lose(server, "record", result)

    def _unmake(self, group: Group) -> None:
        undone = {change.address for change in group.changes}
        with self._mutex:
            report = self.report
            _drop_last(report.done, undone & self._made)
            self._made -= undone
            if undone & self._omitted:
                report.skipped[:] = [change for change in report.skipped if change.address not in undone]
            self._omit(group)

    def _omit(self, group: Group) -> None:
        self.report.skipped += group.changes
        self._omitted |= {change.address for change in group.changes}


def _drop_last(changes: list[Change], addresses: Collection[str]) -> None:
    """Remove the changes that have ``addresses``. A revert begins with what was changed last, so they are looked for
    from the end."""
    left = len(addresses)
    for index in reversed(range(len(changes))):
        if not left:
            return
        if changes[index].address in addresses:
            del changes[index]
            left -= 1
