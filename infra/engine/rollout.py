"""Move running dynos in batches, each healthy before the next; if one fails, every dyno that moved goes back."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from infra.engine.context import Context
from infra.engine.execution import carry_out, on_servers, step_failed
from infra.engine.groups import Group
from infra.errors import DynoctlError
from infra.model.events import Event, Failure
from infra.model.resource import Command
from infra.model.shell import StepFailed
from infra.state import backups, records


def roll(context: Context, groups: Sequence[Group]) -> None:
    """Restart every group's dyno, in the plan's batches, and revert all of them if one does not come up."""
    if not groups:
        return
    context.listener(Event("phase", text="restart", total=len(groups)))
    moved: list[Group] = []
    mutex = threading.Lock()

    def move(context: Context, group: Group) -> None:
        if _keep(context, group):
            with mutex:
                moved.append(group)
            carry_out(context, group)

    waiting = {group.dyno: group for group in groups}
    for batch in context.prepared.plan.batches:
        moving = [waiting.pop(dyno) for dyno in batch if dyno in waiting]
        on_servers(context, moving, move)
        _stay_healthy(context, [group for group in moving if group in moved])
    if context.ledger.report.halted and moved and context.prepared.manifest.rollout.auto_revert:
        _revert(context, moved)


def _keep(context: Context, group: Group) -> bool:
    """Keep what the dyno runs, so that it can go back; whether it may move now. No dyno moves after one failed."""
    ledger = context.ledger
    if ledger.report.halted or context.stop.is_set() or not ledger.usable(group.server):
        ledger.skip(group)
        return False
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


def _files(context: Context, group: Group) -> list[str]:
    """The files that the group's changes overwrite, and the records of them."""
    paths = [path for change in group.changes for path in context.provider(change).files(context.scope, change)]
    return paths + [f"{records.STATE}/{context.app}/{records.applied(change, {})[0]}" for change in group.changes]


def _stay_healthy(context: Context, moved: Sequence[Group]) -> None:
    """After a batch: its dynos must stay healthy for ``rollout.min_healthy_time`` seconds."""
    seconds = context.prepared.manifest.rollout.min_healthy_time
    moved = [group for group in moved if context.ledger.usable(group.server)]
    if not seconds or context.ledger.report.halted or context.clock.wait(context.stop, seconds):
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


def _revert(context: Context, moved: Sequence[Group]) -> None:
    """Bring every dyno that moved back to what it ran, the last one first."""
    app, ledger = context.app, context.ledger
    context.listener(Event("phase", text="revert", total=len(moved)))
    for group in reversed(moved):
        if not ledger.usable(group.server):
            ledger.strand(group)
            continue
        commands: list[Command] = [backups.restore(app, group.subject)]
        for change in group.changes:
            commands += context.provider(change).undo(context.scope, change)
        commands.append(records.write(app, [records.end(group.subject)]))
        try:
            context.shells[group.server].run(commands)
        except StepFailed as error:
            summary = f"{group.server}: {group.subject} could not be reverted: {error.summary}"
            ledger.strand(group, Failure(group.server, group.subject, summary, error.output))
        except DynoctlError as error:
            ledger.lose(group.server, group.subject, error)
            ledger.strand(group)
        else:
            ledger.reverted(group)
