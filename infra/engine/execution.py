"""Carry out groups of changes on their servers, and note each result in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from infra.engine import delivery
from infra.engine.context import Context
from infra.engine.groups import Group, by_server
from infra.errors import DynoctlError
from infra.model.dyno_status import LEFT_IDLE
from infra.model.events import Event
from infra.model.resource import Command
from infra.model.shell import StepFailed
from infra.remote.parallel import each

Work = Callable[[Context, Group], None]


def run_phase(context: Context, name: str, groups: Sequence[Group], work: Work | None = None) -> None:
    """Announce a phase and carry its groups out, by ``work`` if it is given: those of one server in order, servers at
    the same time."""
    if not groups:
        return
    context.listener(Event("phase", text=name, total=len(groups)))
    on_servers(context, groups, work or carry_out)


def on_servers(context: Context, groups: Sequence[Group], work: Work) -> None:
    """``work`` on each group: those of one server one after the other, servers at the same time."""
    of = by_server(groups)

    def work_through(server: str) -> None:
        for group in of[server]:
            work(context, group)

    for server, result in each(work_through, of).items():
        if isinstance(result, DynoctlError):
            context.ledger.lose_midway(server, result)


def carry_out(context: Context, group: Group) -> None:
    """Make the changes of a group, unless its server is lost or the apply is stopping."""
    ledger = context.ledger
    held = context.alone(group) and group.dyno in ledger.failed_subjects()
    if context.stop.is_set() or not ledger.usable(group.server) or held:
        ledger.skip(group)
        return
    try:
        for change in group.changes:
            delivery.send(context, change)
        listener = step_listener(context, group.server, group.subject)
        said = context.shells[group.server].run(_commands(context, group), listener)
    except StepFailed as error:
        step_failed(context, group, error)
    except DynoctlError as error:
        ledger.interrupted_midway(group, error)
    else:
        ledger.succeeded(group, LEFT_IDLE if LEFT_IDLE in said.splitlines() else "")


def step_failed(context: Context, group: Group, error: StepFailed) -> None:
    """Note the failure of a step on a reachable server, with its explanation."""
    context.ledger.failed(group, *context.explain(context, group, error), down=error.command.health)


def step_listener(context: Context, server: str, subject: str) -> Callable[[Command], None]:
    """A function that tells the listener about each command that starts, except bookkeeping."""

    def started(command: Command) -> None:
        if command.label and not command.quiet:
            context.listener(Event("step", server, subject, command.label, seconds=command.timeout))

    return started


def _commands(context: Context, group: Group) -> list[Command]:
    steps = [command for change in group.changes for command in context.provider(change).steps(context.scope, change)]
    recorder = context.recorder
    return [*recorder.before(group), *steps, *recorder.after(group, context.providers)]
