"""Bring dynos to a release: the canaries, new dynos, then the rest in batches; if it fails, everything goes back."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from infra.engine.context import Context
from infra.engine.execution import carry_out, on_servers, step_failed
from infra.engine.groups import Group, by_server
from infra.errors import DynoctlError
from infra.manifest.model import Manifest
from infra.model import naming
from infra.model.events import Event, Failure
from infra.model.paths import home
from infra.model.release import OK
from infra.model.resource import Action, Command
from infra.model.shell import StepFailed
from infra.state import backups, records

STAYS_UP = 10
"""The default of ``rollout.min_healthy_time`` for dynos whose only proof is that they stay up, in seconds."""


class Rollout:
    """The groups of dynos that were begun, in order, so that they can go back."""

    def __init__(self, context: Context) -> None:
        self.begun: list[Group] = list(context.begun)
        self._known = set(map(id, self.begun))  # groups are compared by all their changes, and there are thousands
        self._context = context
        booting = by_server(group for group in context.groups if group.boots)
        self._dynos = {server: [str(group.dyno) for group in groups] for server, groups in booting.items()}
        self._mutex = threading.Lock()

    def run(self, starting: Sequence[Group], restarting: Sequence[Group]) -> None:
        """Restart the canaries, start new dynos, then restart the others in the plan's batches. Each step must be
        healthy before the next; the routers follow once all of them are."""
        context = self._context
        waiting = {group.dyno: group for group in restarting}
        batches = [[waiting[dyno] for dyno in batch if dyno in waiting] for batch in context.prepared.plan.batches]
        canaries = 1 if context.prepared.plan.canary else 0
        for batch in batches[:canaries]:
            self._announce("canary", batch)
            self._batch(batch, 1, len(batches))
        self.step(starting, "start")
        self._announce("restart", [group for batch in batches[canaries:] for group in batch])
        begins = accumulate(count for _, count in context.prepared.plan.waves)
        values = dict(zip(begins, [value for value, _ in context.prepared.plan.waves[1:]], strict=False))
        for number, batch in enumerate(batches[canaries:], canaries):
            if number in values:
                self._pause(values[number])
            self._batch(batch, number + 1, len(batches))

    def _batch(self, groups: Sequence[Group], number: int, total: int) -> None:
        if groups:
            dynos = ", ".join(group.subject for group in groups)
            self._context.listener(Event("batch", text=dynos, number=number, total=total))
        self.step(groups)

    def step(self, groups: Sequence[Group], name: str = "") -> None:
        """Change the dynos of some groups, and look whether they stay healthy."""
        if name:
            self._announce(name, groups)
        on_servers(self._context, groups, self._change)
        _stay_healthy(self._context, [group for group in groups if id(group) in self._known and _runs(group)])
        self._context.ledger.count_lost(self._dynos)

    def _pause(self, following: str) -> None:
        """Wait before the next wave; every dyno that moved must still be healthy then."""
        rollout = self._context.prepared.manifest.rollout
        moved = _up(self._context, [group for group in self.begun if _runs(group)])
        if rollout.pause and moved and not self._context.ledger.report.halted:
            self._announce("pause", moved)
            self._context.listener(Event("note", text=f"wait {rollout.pause} s before {rollout.by} {following}"))
            _watch(self._context, moved, rollout.pause)
            self._context.ledger.count_lost(self._dynos)

    def _announce(self, text: str, groups: Sequence[Group]) -> None:
        if groups:
            self._context.listener(Event("phase", text=text, total=len(groups)))

    def _change(self, context: Context, group: Group) -> None:
        ledger = context.ledger
        over = ledger.report.halted and (context.on_trial or group.restarts)  # nothing moves after a release failed
        if over or ledger.is_broken(group) or context.stop.is_set() or not ledger.usable(group.server):
            ledger.skip(group)
        elif keep(context, group):
            with self._mutex:
                self.begun.append(group)
                self._known.add(id(group))
            carry_out(context, group)


def keep(context: Context, group: Group) -> bool:
    """Back up the files of a dyno, so that it can go back; of a new one, that it has none, in case this apply is killed
    and the next one fails. Returns whether it may be changed now. A restart changes no files, and has to work on a disk
    that is full."""
    if context.recorder.restart:
        return True
    ledger = context.ledger
    try:
        context.shells[group.server].run([backups.keep(context.app, group.subject, _files(context, group))])
    except StepFailed as error:
        step_failed(context, group, error)
        return False
    except DynoctlError as error:
        ledger.lose(group.server, group.subject, error)
        ledger.skip(group)
        return False
    return True


def goes_back(context: Context) -> bool:
    """Whether the rollout failed, and is to be reverted."""
    return context.prepared.manifest.rollout.auto_revert and context.on_trial and context.ledger.report.halted


def go_back(context: Context) -> None:
    """Take everything back that was begun, the last one first: a failed release must not run anywhere."""
    if not goes_back(context):
        _withdraw(context)
        return
    begun = [group for group in reversed(context.begun) if _runs(group) or context.alone(group)]
    context.listener(Event("phase", text="revert", total=len(begun)))
    for group in begun:
        _undo(context, group)
    context.ledger.report.stranded += _moved_before(context)


def _moved_before(context: Context) -> list[str]:
    """The dynos that an earlier apply, which was cut off or failed, has moved to the release that failed now. This one
    does not change them, and has no backup of what they ran."""
    plan = context.prepared.plan
    if plan.release is None or plan.release.result == OK or not plan.release.moved or plan.left_out:
        return []
    changed = {group.dyno for group in context.groups if group.boots}
    homes = plan.formation.homes
    return [f"{dyno} on {homes[dyno]}" for dyno in homes if homes[dyno] in context.shells and dyno not in changed]


def _withdraw(context: Context) -> None:
    """Without a revert: remove new dynos that failed, and those that would run twice, as the old one is kept."""
    ledger = context.ledger
    for group in [group for group in reversed(context.begun) if _is_new(group) and _runs(group)]:
        twice = ledger.report.halted and _stays_elsewhere(context, group)
        if (twice or ledger.is_broken(group)) and ledger.usable(group.server):
            _undo(context, group, withdrawn=True)


def _stays_elsewhere(context: Context, group: Group) -> bool:
    """Whether the dyno of a group is kept on another server."""
    dyno = str(group.dyno)
    home = context.prepared.plan.formation.before.get(dyno, group.server)
    return home != group.server and context.may_have(home, dyno)


def _is_new(group: Group) -> bool:
    """Whether nothing of the dyno was on its server."""
    return all(change.before is None for change in group.changes)


def _runs(group: Group) -> bool:
    return any(change.effect is not None for change in group.changes)


def _files(context: Context, group: Group) -> list[str]:
    """The files that the group's changes overwrite, and their records."""
    paths = [path for change in group.changes for path in context.provider(change).files(context.scope, change)]
    return paths + [f"{home(context.app)}/{records.applied(change, {})[0]}" for change in group.changes]


def min_healthy_time(manifest: Manifest, dynos: Sequence[str]) -> int:
    """Seconds that some dynos must stay healthy once they are up. A dyno that answers no request and has no health
    command shows only by staying up that it works: one that cannot reach its queue often exits a few seconds later."""
    if manifest.rollout.min_healthy_time is not None:
        return manifest.rollout.min_healthy_time
    types = [manifest.dynos.get(naming.parse_dyno(dyno)[0]) for dyno in dynos]
    unproven = any(type_ is not None and type_.command is not None and type_.health is None for type_ in types)
    return STAYS_UP if unproven else 0


def _stay_healthy(context: Context, moved: Sequence[Group]) -> None:
    """Dynos that were changed must stay healthy for ``rollout.min_healthy_time`` seconds."""
    moved = _up(context, moved)
    _watch(context, moved, min_healthy_time(context.prepared.manifest, [str(group.dyno) for group in moved]))


def _up(context: Context, groups: Sequence[Group]) -> list[Group]:
    ledger = context.ledger
    return [group for group in groups if ledger.usable(group.server) and not ledger.is_broken(group)]


def _watch(context: Context, moved: Sequence[Group], seconds: int) -> None:
    """Wait, then look whether dynos are still healthy."""
    if not seconds or not moved or context.ledger.report.halted:
        return
    context.listener(Event("wait", text="staying healthy", total=len(moved), seconds=seconds))
    if context.clock.wait(context.stop, seconds):
        return

    def look(context: Context, group: Group) -> None:
        commands = [context.provider(change).alive(context.scope, change) for change in group.changes]
        try:
            context.shells[group.server].run([command for command in commands if command is not None])
        except StepFailed as error:
            step_failed(context, group, error)
        except DynoctlError as error:
            context.ledger.lose(group.server, group.subject, error)

    on_servers(context, moved, look)


def _undo(context: Context, group: Group, *, withdrawn: bool = False) -> None:
    """Make a dyno what it was. If it was not up before, it need not come up now."""
    ledger, app = context.ledger, context.app
    if not ledger.usable(group.server):
        ledger.strand(group)
        return
    run = context.shells[group.server].run
    # If the revert is cut off, the mark tells the next apply that the dyno must restart.
    begin = records.write(app, [records.begin(group.subject)])
    try:
        if _is_new(group):
            commands, entries = _removal(context, group)
            run([begin, *commands])
        else:
            entries = [records.end(group.subject)]
            steps = [step for change in group.changes for step in context.provider(change).undo(context.scope, change)]
            run([begin, backups.restore(app, group.subject), *steps[:-1]])
            try:
                run(steps[-1:])
            except StepFailed:
                if _was_up(context, group):
                    raise
        run([records.write(app, entries)])
    except StepFailed as error:
        summary = f"cannot revert {group.subject} on {group.server}: {error.summary}"
        ledger.strand(group, Failure(group.server, group.subject, summary, error.output))
    except DynoctlError as error:
        ledger.lose(group.server, group.subject, error)
        ledger.strand(group)
    else:
        ledger.reverted(group, withdrawn=withdrawn)


def _was_up(context: Context, group: Group) -> bool:
    return all(context.provider(change).was_up(change) for change in group.changes)


def _removal(context: Context, group: Group) -> tuple[list[Command], list[tuple[str, str | None]]]:
    """The commands that remove a new dyno, and the entries that remove its records."""
    commands: list[Command] = []
    entries = [records.end(group.subject)]
    for change in reversed(group.changes):
        removal = replace(change, action=Action.DELETE, before=change.after, after=None)
        commands += context.provider(change).steps(context.scope, removal)
        entries.append(records.applied(removal, {}))
    return commands, entries
