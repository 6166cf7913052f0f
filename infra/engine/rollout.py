"""Moves running dynos in batches, each healthy before the next; where one is not, all that moved go back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from infra.engine.groups import Group
from infra.engine.prepare import Prepared
from infra.errors import DynoctlError
from infra.model.events import Event, Failure, Listener, Report
from infra.model.provider import Provider
from infra.model.resource import Command
from infra.model.shell import Shell, StepFailed
from infra.state import backups, records


@dataclass
class Rolling:
    """One rolling update. ``make`` carries a group out and says in ``report`` how it went; ``spread`` does something
    with groups, servers at the same time; ``explain`` notes that a group's dyno failed."""

    prepared: Prepared
    shells: Mapping[str, Shell]
    providers: Mapping[str, Provider]
    broken: set[str]
    report: Report
    listener: Listener
    stop: threading.Event
    make: Callable[[Group], None]
    skip: Callable[[Group], None]
    spread: Callable[[Sequence[Group], Callable[[Group], None]], None]
    explain: Callable[[Group, StepFailed], None]
    fail: Callable[[str, str, DynoctlError], None]
    _moved: list[Group] = field(default_factory=list)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def run(self, groups: Sequence[Group]) -> None:
        """Every group is a dyno that restarts; the plan says in which batches."""
        if not groups:
            return
        self.listener(Event("phase", text="restart", total=len(groups)))
        waiting = {one.dyno: one for one in groups}
        for batch in self.prepared.plan.batches:
            moving = [waiting.pop(dyno) for dyno in batch if dyno in waiting]
            self.spread(moving, self._move)
            self._stay([one for one in moving if one in self._moved])
        if self.report.halted and self._moved and self.prepared.manifest.rollout.auto_revert:
            self._revert()

    def _move(self, one: Group) -> None:
        """Keep what the dyno runs, then change it. Nobody moves after a dyno of the same rollout failed."""
        if self.report.halted or self.stop.is_set() or one.server in self.broken:
            self.skip(one)
            return
        try:
            self.shells[one.server].run([backups.keep(self.prepared.plan.app, one.subject, self._files(one))])
        except StepFailed as error:
            self.explain(one, error)
            return
        except DynoctlError as error:
            self.fail(one.server, one.subject, error)
            self.skip(one)
            return
        with self._mutex:
            self._moved.append(one)
        self.make(one)

    def _files(self, one: Group) -> list[str]:
        """The files that the group's changes overwrite, and the records of them."""
        scope, app = self.prepared.scope, self.prepared.plan.app
        paths = [path for change in one.changes for path in self.providers[change.resource.kind].files(scope, change)]
        return paths + [f"{records.STATE}/{app}/{records.applied(change, {})[0]}" for change in one.changes]

    def _stay(self, moved: Sequence[Group]) -> None:
        """After a batch: its dynos must stay healthy for as long as the manifest says."""
        seconds = self.prepared.manifest.rollout.min_healthy_time
        moved = [one for one in moved if one.server not in self.broken]
        if not seconds or self.report.halted or self.stop.wait(seconds):
            return

        def look(one: Group) -> None:
            commands = [self.providers[one_.resource.kind].alive(self.prepared.scope, one_) for one_ in one.changes]
            try:
                self.shells[one.server].run([command for command in commands if command is not None])
            except StepFailed as error:
                self.explain(one, error)
            except DynoctlError as error:
                self.fail(one.server, one.subject, error)

        self.spread(moved, look)

    def _revert(self) -> None:
        """Bring every dyno that moved back to what it ran, the last one first."""
        scope, app = self.prepared.scope, self.prepared.plan.app
        self.listener(Event("phase", text="revert", total=len(self._moved)))
        for one in reversed(self._moved):
            if one.server in self.broken:
                self._strand(one)
                continue
            commands: list[Command] = [backups.restore(app, one.subject)]
            for change in one.changes:
                commands += self.providers[change.resource.kind].undo(scope, change)
            commands.append(records.write(app, [records.end(one.subject)]))
            try:
                self.shells[one.server].run(commands)
            except StepFailed as error:
                summary = f"{one.server}: {one.subject} could not go back: {error.summary}"
                self.report.failures.append(Failure(one.server, one.subject, summary, error.output))
                self._strand(one)
            except DynoctlError as error:
                self.fail(one.server, one.subject, error)
                self._strand(one)
            else:
                self.report.reverted.append(one.subject)
                self.listener(Event("done", one.server, one.subject, "went back"))
            undone = {change.address for change in one.changes}
            kept = [change for change in self.report.done if change.address not in undone]
            skipped = [change for change in self.report.skipped if change.address not in undone]
            self.report.done[:], self.report.skipped[:] = kept, [*skipped, *one.changes]

    def _strand(self, one: Group) -> None:
        self.report.stranded.append(f"{one.subject} on {one.server}")
