"""Carry out a plan: lock every server, look again, make the changes in order, look once more, report."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from infra.engine.groups import Group, goes, group, restarts, verb
from infra.engine.prepare import Prepared
from infra.engine.recording import Memory
from infra.engine.release_gates import Gates
from infra.engine.rollout import Rolling
from infra.errors import DynoctlError, Unreachable
from infra.fleet.lock import Identity, lock_all
from infra.fleet.observe import Observed
from infra.model.events import Event, Failure, Listener, Report, steady
from infra.model.provider import Provider
from infra.model.redact import redactor
from infra.model.resource import Change, Command, Upload
from infra.model.shell import LockTaken, Shell, StepFailed
from infra.plan.plan import Plan
from infra.remote.parallel import each
from infra.state import records


class StalePlan(DynoctlError):
    """A server changed between the plan and the lock."""


class Applier:
    """One apply. ``stop`` may be set from outside: the step under way is finished, nothing new is begun."""

    def __init__(
        self, prepared: Prepared, listener: Listener, message: str = "", commit: str = "", lock_timeout: float = 0
    ) -> None:
        self._prepared = prepared
        self._words = (message, commit)
        self._lock_timeout = lock_timeout
        self._plan: Plan = prepared.plan
        self._listener = listener = steady(listener)
        self._providers: Mapping[str, Provider] = {one.kind: one for one in prepared.registry.providers}
        self._redact = redactor([*prepared.scope.environments.values(), prepared.scope.credentials, prepared.scope.tls])
        self._shells: dict[str, Shell] = {}
        self._salts: dict[str, str] = {}
        self._broken: set[str] = set()
        self._image: Upload | None = None
        self._memory: Memory | None = None
        self._mutex = threading.Lock()
        self.report = Report()
        self.stop = threading.Event()
        self._rolling = Rolling(
            prepared,
            self._shells,
            self._providers,
            self._broken,
            self.report,
            listener,
            self.stop,
            self._make,
            self._skip,
            self._on_servers,
            self._explain,
            self._fail,
        )

    def run(self) -> Report:
        """Raises LockTaken or StalePlan before anything is changed; everything later is in the report."""
        prepared, plan = self._prepared, self._plan
        identity = Identity.here()
        machines = {name: seen.facts.machine_id for name, seen in prepared.fleet.found.items()}
        sessions = {name: prepared.fleet.sessions[name] for name in sorted(machines, key=lambda n: machines[n])}
        self._shells |= lock_all(
            sessions, plan.app, identity, timeout=self._lock_timeout, waits=self._waits, stop=self.stop
        )
        began = time.monotonic()
        try:
            found = self._look()
            self._refuse_stale(found)
            groups = group(plan)
            made = [one for one in groups if one.dyno is None and not goes(one) and not self._last(one)]
            self._phase("install", [one for one in made if self._first(one)])
            self._memory = memory = Memory(
                prepared,
                self._shells,
                found,
                identity,
                self._broken,
                self.report,
                self._fail,
                self._salts,
                *self._words,
            )
            gates = self._gates()
            gates.require()
            self._image = gates.build()
            memory.begin()
            self._phase("prepare", [one for one in made if not self._first(one)])
            gates.release(memory)
            gates.rehearse()
            leaving = [one for one in groups if goes(one)]
            handed = self._hand_over(leaving)
            starts = [one for one in groups if one.dyno is not None and not goes(one) and not restarts(one)]
            self._phase("start", starts)
            self._rolling.run([one for one in groups if restarts(one)])
            leaving = [one for one in leaving if one not in handed]
            self._phase("route", [self._among(one, leaving) for one in groups if self._last(one) and not goes(one)])
            self._remove(leaving)
            self.report.interrupted = self.stop.is_set() and bool(self.report.skipped)
            memory.end()
            memory.audit(time.monotonic() - began)
        finally:
            self._close()
        return self.report

    def _close(self) -> None:
        each(lambda name: self._shells[name].close(), self._shells)

    def _waits(self, taken: LockTaken) -> None:
        text = f"another apply is running: {taken.holder}; waiting for it to end"
        self._listener(Event("note", taken.server, "lock", text))

    def _look(self) -> dict[str, Observed]:
        observer = self._prepared.observer
        seen = each(lambda name: observer.look(self._shells[name]), self._shells)
        found: dict[str, Observed] = {}
        for name, result in seen.items():
            if isinstance(result, DynoctlError):
                raise result
            found[name] = result
        return found

    def _refuse_stale(self, found: Mapping[str, Observed]) -> None:
        before = self._prepared.fleet.found
        changed = [name for name in found if found[name].fingerprint() != before[name].fingerprint()]
        if changed:
            raise StalePlan(
                f"The plan is stale: {', '.join(changed)} changed after it was made. Nothing was applied.",
                "Run dynoctl plan again and read what is different.",
            )

    def _gates(self) -> Gates:
        report, listener = self.report, self._listener
        return Gates(self._prepared, self._shells, self._broken, report, listener, self._redact, self._fail, self.stop)

    def _first(self, one: Group) -> bool:
        return self._providers[one.changes[0].resource.kind].first

    def _last(self, one: Group) -> bool:
        return self._providers[one.changes[0].resource.kind].last

    def _hand_over(self, leaving: Sequence[Group]) -> list[Group]:
        """What must be nowhere twice goes before it comes elsewhere, and not at all where it does not go."""
        homes = self._plan.formation.homes
        moving = [
            one
            for one in leaving
            if homes.get(one.dyno or "", one.server) != one.server
            and any(self._providers[change.resource.kind].alone for change in one.changes)
        ]
        self._phase("hand over", moving)
        if moving:
            self._prepared.scope = replace(self._prepared.scope, handed=time.time())
        return moving

    def _among(self, one: Group, leaving: Sequence[Group]) -> Group:
        """What leads to dynos, as they came out: to those that came and those that stay, and to no other."""
        formation = self._plan.formation
        untouched = {
            dyno
            for dyno, home in formation.homes.items()
            if formation.before.get(dyno) != home and (home, dyno) not in self._plan.effects()
        }
        absent = self._failed() | untouched
        staying = {group.dyno for group in leaving if group.dyno is not None and self._stays(group)}
        changes = []
        for change in one.changes:
            provider = self._providers[change.resource.kind]
            before = provider.upstreams(change)
            moved = {dyno: before.get(dyno) for dyno in formation.homes if dyno in absent}
            moved |= {dyno: before[dyno] for dyno in staying if dyno in before}
            changes.append(provider.among(change, moved))
        return replace(one, changes=tuple(changes))

    def _phase(self, name: str, groups: Sequence[Group]) -> None:
        """Groups of one server one after the other, servers at the same time."""
        if not groups:
            return
        self._listener(Event("phase", text=name, total=len(groups)))
        self._on_servers(groups, self._make)

    def _on_servers(self, groups: Sequence[Group], work: Callable[[Group], None]) -> None:
        """``work`` on each: those of one server one after the other, servers at the same time."""
        by_server: dict[str, list[Group]] = {}
        for one in groups:
            by_server.setdefault(one.server, []).append(one)

        def work_through(server: str) -> None:
            for one in by_server[server]:
                work(one)

        for server, result in each(work_through, by_server).items():
            if isinstance(result, DynoctlError):  # of what was under way there, nobody knows how it ended
                self.report.halted = True
                self._fail(server, "apply", result)

    def _remove(self, groups: Sequence[Group]) -> None:
        """What leaves goes last, and stays where something that should replace it did not come up."""
        # Where a router still leads to what it led to, all of that stays.
        led = any(self._providers[change.resource.kind].last for change in self.report.skipped)
        staying = [one for one in groups if led or self._stays(one)]
        going = [one for one in groups if one not in staying]
        for one in () if self._prepared.destroy else staying:
            self._skip(one)
        self._phase("remove", groups if self._prepared.destroy else going)

    def _failed(self) -> set[str]:
        failed = {failure.subject for failure in self.report.failures}
        return failed | {change.resource.dyno or "" for change in self.report.skipped}

    def _stays(self, one: Group) -> bool:
        # A slug goes only where everything went well: a dyno that stayed as it was may run from it.
        whole = self.report.ok and not self.report.skipped
        kept = self.report.halted or one.server in self._broken or one.dyno in self._failed()
        return kept or (one.dyno is None and not whole)

    def _make(self, one: Group) -> None:
        held = any(self._providers[change.resource.kind].alone for change in one.changes) and one.dyno in self._failed()
        if self.stop.is_set() or one.server in self._broken or held:
            self._skip(one)
            return
        shell = self._shells[one.server]
        try:
            for change in one.changes:
                self._upload(change)
            shell.run(self._commands(one), lambda command: self._step(one, command))
        except StepFailed as error:
            self._explain(one, error)
            return
        except DynoctlError as error:
            self._fail(one.server, one.subject, error)
            self._note(one, made=False)
            return
        self._note(one, made=True)
        self._listener(Event("done", one.server, one.subject, verb(one)))

    def _commands(self, one: Group) -> list[Command]:
        scope = self._prepared.scope
        app = self._plan.app
        commands: list[Command] = []
        entries: list[tuple[str, str | None]] = []
        if one.dyno is not None and not goes(one):
            moving = [] if self._memory is None else self._memory.moving()
            commands.append(records.write(app, [records.begin(one.dyno), *moving]))
        for change in one.changes:
            provider = self._providers[change.resource.kind]
            commands += provider.steps(scope, change)
            if provider.first:
                continue  # nobody's records tell of what is never taken away
            kept = {} if change.after is None else provider.recorded(change.after, self._salts.get(one.server, ""))
            entries.append(records.applied(change, kept))
        if one.dyno is not None:
            entries.append(records.end(one.dyno))
        return [*commands, records.write(app, entries)] if entries else commands

    def _upload(self, change: Change) -> None:
        if change.action != "create" or change.resource.local is None:
            return
        server, upload = change.resource.server, self._image
        if upload is None:
            return
        self._listener(Event("upload", server, change.resource.key, f"send {upload.size / 1e6:.1f} MB"))
        self._prepared.fleet.sessions[server].upload(Path(upload.local), upload.path, upload.sha256)

    def _explain(self, one: Group, error: StepFailed) -> None:
        """A step failed on a server that answers: say why, in the dyno's own last words where there are any."""
        detail = error.output
        for change in one.changes if error.command.health else ():
            command = self._providers[change.resource.kind].explain(self._prepared.scope, change)
            if command is None:
                continue
            try:
                detail = self._shells[one.server].run([command]) or detail
            except DynoctlError:
                continue  # the step's own output is still there to show
        with self._mutex:
            if one.dyno is not None and not goes(one):
                self.report.halted = True
            self.report.failures.append(
                Failure(one.server, one.subject, self._redact(error.summary), self._redact(detail))
            )
        self._note(one, made=False)
        self._listener(Event("failed", one.server, one.subject, self._redact(error.summary)))
        if one.dyno is None:
            self._broken.add(one.server)  # what every dyno there stands on is missing

    def _fail(self, server: str, subject: str, error: DynoctlError) -> None:
        """A server was lost: nothing more is sent to it, and the others go on."""
        with self._mutex:
            self._broken.add(server)
            self.report.failures.append(
                Failure(server, subject, self._redact(error.summary), error.hint, isinstance(error, Unreachable))
            )
        self._listener(Event("failed", server, subject, self._redact(error.summary)))

    def _skip(self, one: Group) -> None:
        with self._mutex:
            self.report.skipped += one.changes
        self._listener(Event("skipped", one.server, one.subject))

    def _note(self, one: Group, *, made: bool) -> None:
        with self._mutex:
            (self.report.done if made else self.report.skipped).extend(one.changes)

    def _step(self, one: Group, command: Command) -> None:
        if command.says not in ("record", ""):
            self._listener(Event("step", one.server, one.subject, command.says))
