"""What an apply has done so far: the report that it ends with, and the servers that take no more part in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from infra.engine.groups import Group
from infra.errors import DynoctlError, Unreachable
from infra.model.events import Event, Failure, Listener, Report


class Ledger:
    """The only thing that the phases of one apply change; its methods may be called from many threads.

    Every text from a server is passed through ``redact`` before it is kept or told to ``listener``."""

    def __init__(self, listener: Listener, redact: Callable[[str], str]) -> None:
        self.report = Report()
        self._listener = listener
        self._redact = redact
        self._lost: set[str] = set()
        self._refused = False
        self._mutex = threading.Lock()

    @property
    def lost(self) -> frozenset[str]:
        """The servers to which nothing more is sent."""
        return frozenset(self._lost)

    @property
    def refused(self) -> bool:
        """Whether a release gate ended the apply, so that nothing more is changed anywhere."""
        return self._refused

    def usable(self, server: str) -> bool:
        """Whether changes may still be made on a server."""
        return not self._refused and server not in self._lost

    def failed_subjects(self) -> set[str]:
        """The dynos and resources that failed or were not begun."""
        with self._mutex:
            failed = {failure.subject for failure in self.report.failures}
            return failed | {change.resource.dyno or "" for change in self.report.skipped}

    def was_made(self, group: Group) -> bool:
        """Whether all of a group's changes were made."""
        made = {change.address for change in self.report.done}
        return all(change.address in made for change in group.changes)

    def made(self, group: Group) -> None:
        """A group's changes were made."""
        with self._mutex:
            self.report.done += group.changes
        self._listener(Event("done", group.server, group.subject, group.verb))

    def skip(self, group: Group) -> None:
        """A group was not begun."""
        with self._mutex:
            self.report.skipped += group.changes
        self._listener(Event("skipped", group.server, group.subject))

    def failed(self, group: Group, summary: str, detail: str) -> None:
        """A group's step failed on a server that answers. A dyno that does not come up halts the rollout; a resource
        that dynos stand on takes its server out. The texts are redacted already."""
        with self._mutex:
            if group.boots:
                self.report.halted = True
            if group.dyno is None:
                self._lost.add(group.server)
            self.report.failures.append(Failure(group.server, group.subject, summary, detail))
            self.report.skipped += group.changes
        self._listener(Event("failed", group.server, group.subject, summary))

    def lose(self, server: str, subject: str, error: DynoctlError) -> None:
        """A server was lost: nothing more is sent to it, and the others go on."""
        summary = self._redact(error.summary)
        with self._mutex:
            self._lost.add(server)
            self.report.failures.append(
                Failure(server, subject, summary, error.hint, unreachable=isinstance(error, Unreachable))
            )
        self._listener(Event("failed", server, subject, summary))

    def lose_midway(self, server: str, error: DynoctlError) -> None:
        """A server was lost while something was under way there, and how that ended is not known."""
        self.report.halted = True
        self.lose(server, "apply", error)

    def interrupted_midway(self, group: Group, error: DynoctlError) -> None:
        """A server was lost while a group was carried out there."""
        self.lose(group.server, group.subject, error)
        with self._mutex:
            self.report.skipped += group.changes

    def refuse(self, failure: Failure) -> None:
        """A release gate stays shut: nothing more is changed on any server."""
        summary, detail = self._redact(failure.summary), self._redact(failure.detail)
        with self._mutex:
            self.report.failures.append(
                Failure(failure.server, failure.subject, summary, detail, rejected=failure.rejected)
            )
            self._refused = True
        self._listener(Event("failed", failure.server, failure.subject, summary))

    def reverted(self, group: Group) -> None:
        """A dyno that had moved runs again what it ran before."""
        self._unmake(group)
        with self._mutex:
            self.report.reverted.append(group.subject)
        self._listener(Event("done", group.server, group.subject, "reverted"))

    def strand(self, group: Group, failure: Failure | None = None) -> None:
        """A dyno that had moved could not go back."""
        self._unmake(group)
        with self._mutex:
            if failure is not None:
                self.report.failures.append(failure)
            self.report.stranded.append(f"{group.subject} on {group.server}")

    def say_release(self, text: str) -> None:
        """What the release command printed."""
        self.report.release_said = self._redact(text.strip("\n"))

    def settle(self, results: Iterable[tuple[str, object]]) -> None:
        """Servers that could not write their records are lost."""
        for server, result in results:
            if isinstance(result, DynoctlError):
                self.lose(server, "record", result)

    def _unmake(self, group: Group) -> None:
        undone = {change.address for change in group.changes}
        with self._mutex:
            report = self.report
            report.done[:] = [change for change in report.done if change.address not in undone]
            report.skipped[:] = [change for change in report.skipped if change.address not in undone]
            report.skipped += group.changes
