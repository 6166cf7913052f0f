"""The phases of an apply, in order: each is a function of the context, and returns it for the next one."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import replace

from infra.engine import cleanup, delivery, preflight, release_gates, rollout
from infra.engine import hand_over as moves
from infra.engine.context import Context
from infra.engine.execution import run_phase
from infra.engine.groups import Group
from infra.engine.rollout import Rollout

Phase = Callable[[Context], Context]


def install(context: Context) -> Context:
    """Resources that a build may need, such as packages."""
    run_phase(context, "install", [group for group in _base(context) if context.first(group)])
    return context


def gate(context: Context) -> Context:
    """Check the servers after the install, build the slug, check whether there is room for it, and record the new
    formation."""
    release_gates.require(context)
    context = replace(context, image=release_gates.build(context))
    preflight.check(context)
    context.recorder.begin()
    return context


def deliver(context: Context) -> Context:
    """Push the slug to the store from which servers pull it, or hand it from server to server."""
    return delivery.deliver(context)


def prepare(context: Context) -> Context:
    """Resources that dynos depend on: the slug, its mount, the files of the release."""
    run_phase(context, "prepare", [group for group in _base(context) if not context.first(group)])
    return context


def prove(context: Context) -> Context:
    """The release command, then the candidates: the release must pass both before any dyno is changed."""
    preflight.weigh(context)
    release_gates.run_release_command(context)
    release_gates.run_candidates(context)
    preflight.weigh(context)
    moves.rehearse(context)
    return context


def roll_out(context: Context) -> Context:
    """New dynos, files of dynos that need no restart, and dynos that restart."""
    booting = [group for group in context.groups if group.boots and (group.restarts or not context.alone(group))]
    work = Rollout(context)
    work.run([group for group in booting if not group.restarts], [group for group in booting if group.restarts])
    return replace(context, begun=tuple(work.begun))


def hand_over(context: Context) -> Context:
    """Move what must never be on two servers. Skipped if the rollout failed."""
    return moves.hand_over(context)


def take_over(context: Context) -> Context:
    """Create other resources that must never be on two servers, and change those that stay where they are."""
    groups = [group for group in context.groups if group.boots and not group.restarts and context.alone(group)]
    groups = [group for group in groups if group not in [move.taking for move in context.moves]]
    if context.ledger.report.halted:
        _skip(context, groups)
        return context
    work = Rollout(context)
    work.step(groups, "take over")
    return replace(context, begun=tuple(work.begun))


def go_back(context: Context) -> Context:
    """Everything that was begun, if the rollout failed."""
    if rollout.goes_back(context):
        moves.give_back(context)
    rollout.go_back(context)
    return context


def route(context: Context) -> Context:
    """Routers, once the dynos that they route to are up, and before other dynos are removed. After a rollout that
    failed, a router is changed only if it would lead to where a dyno no longer is."""
    removals = _removals(context)
    routes = [group for group in context.groups if context.last(group) and not group.leaves]
    groups = [_to_running_dynos(context, group, removals) for group in routes]
    staying, changing = _split(groups, lambda group: context.ledger.report.halted and _leads_as_before(context, group))
    _skip(context, staying)
    run_phase(context, "route", changing)
    return context


def remove(context: Context) -> Context:
    """Removals, routers first. Resources whose replacement did not become healthy are kept."""
    groups = _removals(context)
    routers = [group for group in groups if context.last(group)]
    others = [group for group in groups if not context.last(group)]
    if context.prepared.destroy:
        if context.prepared.request.end_runs:
            release_gates.end_runs(context)
        run_phase(context, "remove routers", routers)
        run_phase(context, "remove", others)
        return context
    if _unrouted(context) or context.ledger.report.halted:
        _skip(context, routers)
    else:
        run_phase(context, "remove routers", routers)
    # If a router was not changed, everything that it may still route to is kept.
    unrouted, failed = _unrouted(context), _failed(context)
    staying, going = _split(others, lambda group: unrouted or _is_kept(context, group, failed))
    _skip(context, staying)
    run_phase(context, "remove", going)
    return context


def discard(context: Context) -> Context:
    """Remove what was created for a release that was rejected or reverted, as it runs nowhere."""
    report, released = context.ledger.report, context.prepared.plan.release
    before = released is not None and released.moved
    if (report.rejected or report.fully_reverted) and not before:
        cleanup.discard(context, [group for group in _base(context) if not context.first(group)])
    return context


def _unrouted(context: Context) -> bool:
    """Whether the change of a router was skipped, so that it may still route to dynos that leave. The plan holds back
    what a router on an unreachable server may route to."""
    return any(context.provider(change).last for change in context.ledger.report.skipped)


def _split(groups: Sequence[Group], stays: Callable[[Group], bool]) -> tuple[list[Group], list[Group]]:
    """The groups that stay as they are, and the others."""
    found: tuple[list[Group], list[Group]] = ([], [])
    for group in groups:
        found[not stays(group)].append(group)
    return found


def _skip(context: Context, groups: Sequence[Group]) -> None:
    for group in groups:
        context.ledger.skip(group)


PHASES: tuple[Phase, ...] = (
    install,
    gate,
    deliver,
    prepare,
    prove,
    roll_out,
    hand_over,
    take_over,
    go_back,
    route,
    remove,
    discard,
)

RESTART: tuple[Phase, ...] = (roll_out,)
"""The phases of a restart, which changes no files."""


def _base(context: Context) -> list[Group]:
    """Groups to create or update that belong to no dyno, except routers."""
    return [group for group in context.groups if group.dyno is None and not group.leaves and not context.last(group)]


def _removals(context: Context) -> list[Group]:
    return [group for group in context.groups if group.leaves and group not in context.removed]


def _failed(context: Context) -> set[str]:
    """The dynos and resources that failed or were skipped, and the dynos that moved to a server which was lost since,
    while the old ones are still there: nothing shows that the new ones run. One that must never run twice is none of
    them."""
    ledger, homes = context.ledger, context.prepared.plan.formation.homes
    lost = ledger.lost - ledger.failing
    old = [group for group in _removals(context) if homes.get(group.dyno or "") in lost] if lost else []
    moved = {str(group.dyno) for group in old if ledger.usable(group.server) and not context.alone(group)}
    return ledger.failed_subjects() | moved


def _is_kept(context: Context, group: Group, failed: Container[str | None]) -> bool:
    """Whether a resource is kept although it should be removed, as its replacement did not become healthy: its dyno is
    one of those that ``failed``."""
    ledger = context.ledger
    # A slug is removed only if everything succeeded: a dyno that was not changed may run from it.
    complete = ledger.report.ok and not ledger.report.skipped
    kept = ledger.report.halted or not ledger.usable(group.server) or group.dyno in failed
    return kept or (group.dyno is None and not complete)


def _to_running_dynos(context: Context, group: Group, removals: Sequence[Group]) -> Group:
    """The change of a route, limited to dynos that became healthy or are kept. If the rollout failed, new dynos are not
    routed to."""
    plan, ledger = context.prepared.plan, context.ledger
    formation = plan.formation
    failed = _failed(context)
    absent = failed | plan.idle
    staying = {other.dyno for other in removals if other.dyno is not None and _is_kept(context, other, failed)}
    changes = []
    for change in group.changes:
        provider = context.provider(change)
        before = provider.upstreams(change)
        moved = {dyno: before.get(dyno) for dyno in formation.homes if dyno in absent}
        if ledger.report.halted:
            moved |= {dyno: None for dyno in formation.homes if dyno not in before}
        else:
            moved |= dict.fromkeys(ledger.down)  # rollout.max_failures allows them
        moved |= {dyno: before[dyno] for dyno in staying if dyno in before}
        changes.append(provider.among(change, moved))
    return replace(group, changes=tuple(changes))


def _leads_as_before(context: Context, group: Group) -> bool:
    """Whether a router need not change, as it leads to the same addresses as before."""
    for change in group.changes:
        provider = context.provider(change)
        if provider.upstreams(replace(change, before=change.after)) != provider.upstreams(change):
            return False
    return True
