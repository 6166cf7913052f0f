"""What a release must pass before any dyno moves: packages, the build, the release command, a candidate."""

from __future__ import annotations

from infra.engine.context import Context
from infra.engine.execution import step_listener
from infra.errors import DynoctlError
from infra.model.events import Event, Failure
from infra.model.resource import Action, Upload
from infra.model.shell import StepFailed
from infra.model.stack import Trial
from infra.plan import preconditions
from infra.remote.parallel import each
from infra.state import records

SILENT = "It printed nothing."


def require(context: Context) -> None:
    """After packages were installed: what was missing then, because they would bring it, must be there now."""
    prepared, ledger = context.prepared, context.ledger
    carrying = set(prepared.plan.formation.homes.values())  # a router's server needs no layers for dynos

    def work(server: str) -> list[DynoctlError]:
        seen = prepared.observer.look(context.shells[server])
        facts = {server: seen.facts}
        idle = set(context.shells) - carrying
        problems = preconditions.servers(facts, prepared.stack, idle=idle)
        return [
            DynoctlError(problem.summary, f"Expected: {problem.expected}. {problem.hint}")
            if problem.expected
            else DynoctlError(problem.summary, problem.hint)
            for problem in problems
        ]

    installed = {change.resource.server for change in ledger.report.done} - ledger.lost
    for server, result in each(work, sorted(installed)).items():
        for problem in [result] if isinstance(result, DynoctlError) else result:
            ledger.lose(server, "packages", problem)


def build(context: Context) -> Upload | None:
    """Make the slug's image if a server that is still usable needs it."""
    plan, slug = context.prepared.plan, context.prepared.slug
    needed = any(
        change.action is Action.CREATE
        and change.resource.local is not None
        and context.ledger.usable(change.resource.server)
        for change in plan.changes
    )
    if not needed or slug is None or context.shut:
        return None
    builder = plan.builder
    sessions = context.prepared.fleet.sessions
    try:
        if builder is not None and (not context.ledger.usable(builder) or builder not in sessions):
            raise DynoctlError(f"cannot build the slug on {builder}: the server is unreachable")
        session = None if builder is None else sessions[builder]
        return slug.image(session, lambda text: context.listener(Event("note", builder or "here", "slug", text)))
    except DynoctlError as error:
        context.ledger.refuse(Failure(builder or "here", "build", error.summary, error.hint))
        return None


def run_release_command(context: Context) -> None:
    """Run the release command, once; if it fails, nothing moves. The recorder writes down where it was begun, and
    that it ended."""
    prepared, ledger, recorder = context.prepared, context.ledger, context.recorder
    server, release = prepared.plan.release_on, prepared.plan.release
    if server is None or prepared.slug is None or release is None or context.shut:
        return
    registry = prepared.registry
    mark = records.commanded(prepared.plan.app, release.number)
    trial = registry.release(prepared.manifest, prepared.stack, prepared.slug, server, context.scope, mark)
    try:
        if not ledger.usable(server):
            raise DynoctlError(f"{server}: it was to run the release command, and is unreachable")
        alone = registry.alone(prepared.plan.app)
        for name, result in each(lambda name: context.shells[name].run([alone]), context.shells).items():
            if isinstance(result, StepFailed):
                raise DynoctlError(f"{name}: {result.output}", "Wait for it to end, then apply again.")
        recorder.commanding(server)
        if not ledger.usable(server):
            raise DynoctlError(f"{server}: it was to run the release command, and was lost")
        said = _try(context, server, "release command", trial)
        recorder.commanded(well=True)
        ledger.say_release(said)
        context.listener(Event("done", server, "release command", "ended well"))
    except StepFailed as error:
        recorder.commanded(well=False)
        summary = f"{server}: the release command failed, so the release was rejected"
        ledger.refuse(Failure(server, "release command", summary, error.output or SILENT, rejected=True))
    except DynoctlError as error:
        ledger.refuse(Failure(server, "release command", error.summary, error.hint))


def rehearse(context: Context) -> None:
    """Boot a candidate of the release on every server where it is new; one that does not answer ends the apply."""
    prepared, ledger = context.prepared, context.ledger
    servers = [name for name in prepared.plan.candidates if ledger.usable(name)]
    slug = prepared.slug
    if not servers or slug is None or context.shut:
        return
    context.listener(Event("phase", text="rehearse", total=len(servers)))

    def work(server: str) -> None:
        trial = prepared.registry.candidate(prepared.manifest, prepared.stack, slug, server, context.scope)
        _try(context, server, "candidate", trial)
        context.listener(Event("done", server, "candidate", "answered"))

    rejected: dict[str, list[str]] = {}
    for server, result in each(work, servers).items():
        if isinstance(result, StepFailed):
            rejected.setdefault(result.output or SILENT, []).append(server)
        elif isinstance(result, DynoctlError):
            ledger.lose(server, "candidate", result)
    for detail, where in rejected.items():
        summary = f"{', '.join(where)}: the release was rejected, as its candidate did not answer"
        ledger.refuse(Failure(where[0], "candidate", summary, detail, rejected=True))


def _try(context: Context, server: str, subject: str, trial: Trial) -> str:
    """Run a trial and return what it printed. Raises StepFailed if the release did not pass it: that is for the last
    command to say. One before it, or a record of the trial, may fail for reasons that are the server's."""
    try:
        commands = context.recorder.trial(trial.commands)
        return context.shells[server].run(commands, step_listener(context, server, subject))
    except StepFailed as error:
        if error.command is not trial.commands[-1]:
            raise DynoctlError(error.summary, error.output) from None
        context.recorder.trial_failed(server, error)
        raise
