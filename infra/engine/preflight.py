"""Before anything changes: can every server take the release? If too many dynos could not move, none does."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from infra.engine.context import Context
from infra.engine.groups import Group, by_server
from infra.errors import DynoctlError
from infra.fleet import room
from infra.model import naming
from infra.model.events import Failure
from infra.model.resource import Action, Command, Effect
from infra.model.shell import StepFailed
from infra.model.text import quantity
from infra.remote.parallel import each

HINT = "to go on without these dynos: dynoctl apply --exclude DYNO, or set rollout.max_failures"


def check(context: Context) -> None:
    """Check disk, memory and ports of every server on which a dyno is changed, then whether too many dynos fail."""
    if context.prepared.destroy:
        return
    of = by_server(context.groups)
    changing = [server for server, groups in of.items() if any(group.boots for group in groups)]
    usable = [server for server in changing if context.ledger.usable(server)]
    for server, result in each(lambda name: _check(context, name, of[name]), usable).items():
        if isinstance(result, DynoctlError):
            context.ledger.lose(server, "checks", result)
    weigh(context)


def weigh(context: Context) -> None:
    """Refuse the apply if servers that answer cannot take the release, and so more dynos fail than may: it would run
    next to the one before. Servers that are unreachable do not count, as when they were it before."""
    ledger, before = context.ledger, context.prepared.plan.formation.before
    running = any(context.may_have(home, dyno) for dyno, home in before.items())
    if not context.on_trial or not running or ledger.refused:
        return
    ledger.exclude(_dynos(context, ledger.failing))
    ledger.report.without = [] if ledger.exceeded else sorted(ledger.failing)
    if ledger.exceeded and not ledger.report.halted:
        dynos = sorted(ledger.broken, key=naming.dyno_order)
        which = ", ".join(dynos[:8]) + (", ..." if len(dynos) > 8 else "")
        allowed = context.prepared.plan.max_failures
        cannot = f"{quantity(len(dynos), 'dyno')} ({which}) cannot take the release"
        summary = f"no dyno was changed: {cannot}, and rollout.max_failures allows {allowed or 'none'}"
        server = min(ledger.failing, default="")
        ledger.refuse(Failure(server or _server(context, dynos[0]), "release", summary, HINT))


def affordable(context: Context, servers: Collection[str]) -> bool:
    """Whether the release may go on without the dynos of some servers."""
    return context.ledger.affords(_dynos(context, servers))


def _dynos(context: Context, servers: Collection[str]) -> set[str]:
    return {str(group.dyno) for group in context.groups if group.boots and group.server in servers}


def _server(context: Context, dyno: str) -> str:
    return next(group.server for group in context.groups if group.dyno == dyno)


def _check(context: Context, server: str, own: Sequence[Group]) -> None:
    """Raises DynoctlError if the server, with its ``own`` groups, has no room. A dyno whose port is taken fails
    alone."""
    groups = [group for group in own if group.boots]
    waiting = [(group, command) for group in groups for command in _conditions(context, group)]
    look = room.look(context.app)
    output = None
    while True:
        commands = [] if output is not None else [look]
        try:
            printed = context.shells[server].run([*commands, *(command for _, command in waiting)])
            output = printed if output is None else output
            break
        except StepFailed as error:
            failed = next((pair for pair in waiting if pair[1] is error.command), None)
            if failed is None:
                raise
            group = failed[0]
            cause, *more = error.output.splitlines() or [error.summary]
            summary = f"{server}: cannot start {group.subject}: {cause}"
            context.ledger.exclude([group.subject], Failure(server, group.subject, summary, "\n".join([*more, HINT])))
            waiting = [pair for pair in waiting if pair[0] is not group]
    lacking = list(room.parse(output).lacks(context.app, _slug(context, own), _processes(context, groups, server)))
    if lacking:
        raise DynoctlError(f"{server}: cannot take the release: {lacking[0]}", "\n".join([*lacking[1:], HINT]))


def _conditions(context: Context, group: Group) -> list[Command]:
    found = [context.provider(change).free(context.scope, change) for change in group.changes]
    return [command for command in found if command is not None]


def _slug(context: Context, groups: Sequence[Group]) -> int:
    """The size of the slug if it is sent to the server of some groups."""
    sends = any(
        change.resource.local is not None and change.action is Action.CREATE
        for group in groups
        for change in group.changes
    )
    return context.image.size if sends and context.image is not None else 0


def _processes(context: Context, groups: Collection[Group], server: str) -> int:
    """How many processes are added on the server while the release is rolled out."""
    starting = sum(any(change.effect is Effect.START for change in group.changes) for group in groups)
    return starting + (server in context.prepared.plan.candidates)
