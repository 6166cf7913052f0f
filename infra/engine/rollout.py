"""Restart dynos in batches, each healthy before the next; if one fails, every restarted dyno is reverted."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from infra.engine.context import Context
from infra.engine.execution import carry_out, on_servers, step_failed
from infra.engine.groups import Group
from infra.errors import DynoctlError
from infra.model.events import Event, Failure
from infra.model.paths import home
from infra.model.resource import Action, Command
from infra.model.shell import StepFailed
from infra.state import backups, records


def start(context: Context, group: Group) -> None:
    """Start a dyno that does not run. Its existing files are backed up, so that it can be reverted with the others."""
    if all(change.before is None for change in group.changes) or _keep(context, group):
        carry_out(context, group)


def roll(context: Context, groups: Sequence[Group]) -> None:
    """Restart the dynos of all groups in the plan's batches, and revert them if one does not become healthy."""
    if not groups:
        return
    context.listener(Event("phase", text="restart", total=len(groups)))
    moved: list[Group] = []
    mutex = threading.Lock()

    def move(context: Context, group: Group) -> None:
        if context.ledger.report.halted:  # no dyno restarts after one failed
            context.ledger.skip(group)
        elif _keep(context, group):
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
    """Back up the files of a dyno, so that it can be reverted. Returns whether it may be changed now."""
    ledger = context.ledger
    if context.stop.is_set() or not ledger.usable(group.server):
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
    """The files that the group's changes overwrite, and their records."""
    paths = [path for change in group.changes for path in context.provider(change).files(context.scope, change)]
    return paths + [f"{home(context.app)}/{records.applied(change, {})[0]}" for change in group.changes]


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
    """Revert every restarted dyno, the last one first, and every dyno that was only started, because a failed release
    must not run anywhere."""
    started = [group for group in context.started if context.ledger.was_made(group) and _runs(group)]
    context.listener(Event("phase", text="revert", total=len(moved) + len(started)))
    for group in (*reversed(moved), *reversed(started)):
        _undo(context, group)


def _runs(group: Group) -> bool:
    return any(change.effect is not None for change in group.changes)


def _undo(context: Context, group: Group) -> None:
    ledger = context.ledger
    if not ledger.usable(group.server):
        ledger.strand(group)
        return
    try:
        context.shells[group.server].run(_revert_commands(context, group))
    except StepFailed as error:
        summary = f"cannot revert {group.subject} on {group.server}: {error.summary}"
        ledger.strand(group, Failure(group.server, group.subject, summary, error.output))
    except DynoctlError as error:
        ledger.lose(group.server, group.subject, error)
        ledger.strand(group)
    else:
        ledger.reverted(group)


def _revert_commands(context: Context, group: Group) -> list[Command]:
    """The commands that revert a dyno; a new dyno is removed."""
    app = context.app
    # If the revert is cut off, the mark tells the next apply that the dyno must restart.
    commands: list[Command] = [records.write(app, [records.begin(group.subject)])]
    entries = [records.end(group.subject)]
    if all(change.before is None for change in group.changes):
        for change in reversed(group.changes):
            removal = replace(change, action=Action.DELETE, before=change.after, after=None)
            commands += context.provider(change).steps(context.scope, removal)
            entries.append(records.applied(removal, {}))
    else:
        commands.append(backups.restore(app, group.subject))
        for change in group.changes:
            commands += context.provider(change).undo(context.scope, change)
    return [*commands, records.write(app, entries)]
