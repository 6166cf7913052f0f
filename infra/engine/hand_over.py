"""Move what must never be on two servers: it is paused on one, started on the other, and only then removed from the
first. If it does not start there, it is resumed where it was, so that it never runs nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from infra.engine.context import Context, Move
from infra.engine.execution import carry_out, on_servers, run_phase, step_failed, step_listener
from infra.engine.groups import Group
from infra.engine.rollout import goes_back
from infra.errors import DynoctlError
from infra.model.events import Event, Failure
from infra.model.resource import Action, Change, Command
from infra.model.shell import StepFailed
from infra.state import records


def rehearse(context: Context) -> None:
    """Check the servers that resources move to, before anything is changed. One that fails keeps nothing from moving to
    others, and what should move to it stays where it is."""

    def work(context: Context, group: Group) -> None:
        ledger = context.ledger
        if context.stop.is_set() or not ledger.usable(group.server):
            return
        commands = [command for change in _alone(context, group) for command in _rehearsal(context, change)]
        try:
            context.shells[group.server].run(commands, step_listener(context, group.server, group.subject))
        except StepFailed as error:
            ledger.exclude(
                [group.subject], Failure(group.server, group.subject, *context.explain(context, group, error))
            )
        except DynoctlError as error:
            ledger.lose(group.server, group.subject, error)

    moves, _ = _moves(context)
    on_servers(context, [move.taking for move in moves], work)


def hand_over(context: Context) -> Context:
    """Make the moves, each at once, so that no other one delays it. Copies beside the one that stays are removed."""
    moves, strays = _moves(context)
    ledger = context.ledger
    if ledger.report.halted:
        for group in (*strays, *(move.taking for move in moves)):
            ledger.skip(group)
    else:
        run_phase(context, "remove copies", strays)
        if moves:
            context.listener(Event("phase", text="hand over", total=len(moves)))
        for move in moves:
            _hand_over(context, move)
    return replace(context, removed=tuple(strays), moves=tuple(moves))


def give_back(context: Context) -> None:
    """Undo every move that was made, the last one first, as the release failed."""
    for move in reversed(context.moves):
        if context.ledger.was_made(move.taking):
            _give_back(context, move)


def _moves(context: Context) -> tuple[list[Move], list[Group]]:
    """The moves of a plan, and the groups that are only removed: their resource is somewhere else already."""
    formation = context.prepared.plan.formation
    leaving = [
        group
        for group in context.groups
        if group.leaves
        and _alone(context, group)
        and formation.homes.get(group.dyno or "", group.server) != group.server
    ]
    takers = {
        group.dyno: group
        for group in context.groups
        if group.boots and not group.restarts and _alone(context, group) and not _runs(context, group)
    }
    # If there are several copies, the one at the recorded home moves.
    leaving.sort(key=lambda group: formation.before.get(group.dyno or "") != group.server)
    moves: list[Move] = []
    strays: list[Group] = []
    for group in leaving:
        taking = takers.pop(group.dyno, None)
        if taking is None:
            strays.append(group)
        else:
            moves.append(Move(group, taking))
    return moves, strays


def _hand_over(context: Context, move: Move) -> None:
    ledger, leaving, taking = context.ledger, move.leaving, move.taking
    stopping = context.stop.is_set() or ledger.report.halted
    usable = ledger.usable(leaving.server) and ledger.usable(taking.server)
    if stopping or not usable or taking.dyno in ledger.failed_subjects():
        ledger.skip(taking)  # the removal of the other one is skipped later
        return
    pauses = [command for change in _alone(context, leaving) for command in _pause(context, change)]
    mark = records.write(context.app, [records.begin(str(leaving.dyno))])
    try:
        listener = step_listener(context, leaving.server, str(leaving.dyno))
        printed = context.shells[leaving.server].run([mark, *pauses], listener)
    except StepFailed as error:
        step_failed(context, leaving, error)
        ledger.skip(taking)
        _resume(context, move, "")
    except DynoctlError as error:
        ledger.lose(leaving.server, str(leaving.dyno), error)
        ledger.skip(taking)
    else:
        carry_out(_told(context, taking, printed), taking)
        if not ledger.was_made(taking):
            _give_back(context, move)


def _give_back(context: Context, move: Move) -> None:
    """Remove what moved from where it went, and resume it where it was. If it is unknown whether it runs there, it is
    not resumed: it must never run twice."""
    ledger, taking = context.ledger, move.taking
    if not ledger.usable(taking.server) or not ledger.usable(move.leaving.server):
        ledger.strand(taking)
        return
    app, made = context.app, ledger.was_made(taking)
    pauses = [command for change in _alone(context, taking) for command in _pause(context, change)] if made else []
    removals = [
        replace(change, action=Action.DELETE, before=change.after, after=None)
        for change in reversed(taking.changes)
        if change.before is None or context.provider(change).alone
    ]
    steps = [command for removal in removals for command in context.provider(removal).steps(context.scope, removal)]
    entries = [records.end(str(taking.dyno)), *(records.applied(removal, {}) for removal in removals)]
    mark = records.write(app, [records.begin(str(taking.dyno))])
    try:
        shell = context.shells[taking.server]
        printed = shell.run([mark, *pauses]) if pauses else ""
        shell.run([mark, *steps, records.write(app, entries)])
    except DynoctlError as error:
        _strand(context, taking, error)
        return
    _resume(context, move, printed)


def _resume(context: Context, move: Move, printed: str) -> None:
    """Resume what was paused; ``printed`` is what pausing it on the other server printed, if it ran there."""
    ledger, leaving = context.ledger, move.leaving
    scope = _told(context, leaving, printed).scope
    resumes = [
        command for change in _alone(context, leaving) for command in context.provider(change).resume(scope, change)
    ]
    end = records.write(context.app, [records.end(str(leaving.dyno))])
    try:
        context.shells[leaving.server].run([*resumes, end], step_listener(context, leaving.server, str(leaving.dyno)))
    except DynoctlError as error:
        _strand(context, leaving, error)
    else:
        # If the release stays, only this dyno goes back, and the release is not reverted.
        ledger.reverted(move.taking, withdrawn=not goes_back(context))


def _strand(context: Context, group: Group, error: DynoctlError) -> None:
    ledger = context.ledger
    if isinstance(error, StepFailed):
        summary = f"cannot revert {group.subject} on {group.server}: {error.summary}"
        ledger.strand(group, Failure(group.server, group.subject, summary, error.output))
    else:
        ledger.lose(group.server, group.subject, error)
        ledger.strand(group)


def _told(context: Context, group: Group, printed: str) -> Context:
    """The context with what a paused resource printed."""
    last = next((line for line in reversed(printed.splitlines()) if line.strip()), "")
    return replace(context, scope=replace(context.scope, handed={str(group.dyno): last} if last else {}))


def _alone(context: Context, group: Group) -> list[Change]:
    return [change for change in group.changes if context.provider(change).alone]


def _runs(context: Context, group: Group) -> bool:
    """Whether the resource of a group that is changed in place runs there already."""
    return any(
        change.before is not None and not context.provider(change).dormant(change.before)
        for change in _alone(context, group)
    )


def _rehearsal(context: Context, change: Change) -> Sequence[Command]:
    return context.provider(change).rehearse(context.scope, change)


def _pause(context: Context, change: Change) -> Sequence[Command]:
    return context.provider(change).pause(context.scope, change)
