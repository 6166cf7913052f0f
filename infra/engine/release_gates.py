"""The gates of a release before any dyno is changed: packages, the build, the release command, the candidate."""

from __future__ import annotations

from dataclasses import replace

from infra.engine import failure_report, preflight, times_before
from infra.engine.context import Context
from infra.engine.execution import step_listener
from infra.engine.failure_report import DEADLINE, Limits
from infra.errors import DynoctlError
from infra.model import failure_log, naming
from infra.model.events import Event, Failure
from infra.model.resource import Action, Upload
from infra.model.shell import StepFailed
from infra.model.stack import RELEASE_TIMEOUT, Trial
from infra.model.text import enumeration
from infra.model.volume import volume_users
from infra.plan import preconditions, volumes
from infra.remote.parallel import each
from infra.state import records

NAMED = 8
"""Servers that an error names."""


class NotStarted(DynoctlError):
    """The server could not prepare a trial, so the release was not tried."""


def require(context: Context) -> None:
    """Check that the packages that were installed provide what the plan expected of them."""
    prepared, ledger = context.prepared, context.ledger
    carrying = set(prepared.plan.formation.homes.values())  # a router's server needs no layers for dynos

    def work(server: str) -> list[DynoctlError]:
        observed = prepared.observer.look(context.shells[server])
        facts = {server: observed.facts}
        idle = set(context.shells) - carrying
        problems = preconditions.servers(facts, prepared.stack, idle=idle)
        return [
            DynoctlError(problem.summary, f"expected {problem.expected}; {problem.hint}")
            if problem.expected
            else DynoctlError(problem.summary, problem.hint)
            for problem in problems
        ]

    installed = {change.resource.server for change in ledger.report.done} - ledger.lost
    for server, result in each(work, sorted(installed)).items():
        for problem in [result] if isinstance(result, DynoctlError) else result:
            ledger.lose(server, "packages", problem)


def build(context: Context) -> Upload | None:
    """Build the image of the slug if a usable server needs it."""
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
    if plan.build:
        context.listener(Event("phase", text="build", total=1))
    sessions = context.prepared.fleet.sessions
    try:
        if builder is not None and (not context.ledger.usable(builder) or builder not in sessions):
            raise DynoctlError(f"cannot build the slug on {builder}: the server is unreachable")
        session = None if builder is None else sessions[builder]

        def say(text: str) -> None:
            context.listener(Event("note", builder or "here", "slug", text))

        return slug.image(session, say, lambda: times_before.of(context, slug.digest))
    except DynoctlError as error:
        context.ledger.refuse(Failure(builder or "here", "build", error.summary, error.hint))
        return None


def run_release_command(context: Context) -> None:
    """Run the release command once; if it fails, the release is rejected. Its start and its end are recorded."""
    prepared, ledger, recorder = context.prepared, context.ledger, context.recorder
    server, release = prepared.plan.release_on, prepared.plan.release
    if server is None or prepared.slug is None or release is None or context.shut:
        return
    context.listener(Event("phase", text="release command", total=1))
    registry = prepared.registry
    mark = records.commanded(prepared.plan.app, release.number)
    # With --target, or while a server is unreachable, it may not run where the volumes of web dynos are.
    stack = replace(prepared.stack, volumes=volumes.on(server, prepared.stack.volumes, prepared.plan.formation))
    trial = registry.release(prepared.manifest, stack, prepared.slug, server, context.scope, mark)
    try:
        for volume in prepared.stack.volumes:
            users = volume_users(volume, prepared.plan.formation.homes)
            away = volume not in stack.volumes and any(naming.parse_dyno(user)[0] == "web" for user in users)
            # Without it, a migration might find a database of the slug, and count as done.
            if away and any(file.startswith(f"{volume.path}/") for file in stack.sqlite):
                raise DynoctlError(
                    f"cannot run the release command on {server}: the database is in the volume {volume.name}, "
                    "which is on another server",
                    "apply without --target, when all servers are reachable",
                )
        if not ledger.usable(server):
            raise DynoctlError(f"cannot run the release command on {server}: the server is unreachable")
        alone = registry.alone(prepared.plan.app)
        for name, result in each(lambda name: context.shells[name].run([alone]), context.shells).items():
            if isinstance(result, StepFailed):
                raise DynoctlError(f"{name}: {result.output}", "wait until it ends, then: dynoctl apply")
        recorder.commanding(server)
        if not ledger.usable(server):
            raise DynoctlError(f"cannot run the release command on {server}: the connection was lost")
        output = _try(context, server, "release command", trial)
        recorder.commanded(well=True)
        ledger.say_release(output)
        context.listener(Event("done", server, "release command", "succeeded"))
    except StepFailed as error:
        recorder.commanded(well=False)
        summary = f"release rejected: the release command failed on {server}"
        limits = Limits(RELEASE_TIMEOUT, "", prepared.manifest.types["web"])
        ledger.refuse(
            Failure(server, "release command", summary, failure_report.detail(error.output, limits), rejected=True)
        )
    except NotStarted as error:
        recorder.commanded(well=False)
        ledger.refuse(Failure(server, "release command", error.summary, error.hint))
    except DynoctlError as error:
        ledger.refuse(Failure(server, "release command", error.summary, error.hint))


def end_runs(context: Context) -> None:
    """End the one-off dynos on all servers, before what they need is removed."""
    sweep = context.prepared.registry.sweep(context.app, stop=True)
    context.ledger.settle(each(lambda name: context.shells[name].run([sweep]), context.shells).items())


def run_candidates(context: Context) -> None:
    """Boot a candidate on every server that needs one; if one does not become healthy, the release is rejected, unless
    the dynos of its server may fail."""
    prepared, ledger = context.prepared, context.ledger
    servers = [name for name in prepared.plan.candidates if ledger.usable(name)]
    slug = prepared.slug
    if not servers or slug is None or context.shut:
        return
    context.listener(Event("phase", text="candidate", total=len(servers)))

    def work(server: str) -> None:
        trial = prepared.registry.candidate(prepared.manifest, prepared.stack, slug, server, context.scope)
        _try(context, server, "candidate", trial)
        context.listener(Event("done", server, "candidate", "healthy"))

    rejected: dict[str, list[tuple[str, str]]] = {}
    limits = Limits(prepared.manifest.rollout.healthy_deadline, DEADLINE, prepared.manifest.types["web"])
    for server, result in each(work, servers).items():
        if isinstance(result, StepFailed):
            detail = failure_report.detail(result.output, limits)
            rejected.setdefault(failure_log.kind(detail), []).append((server, detail))
        elif isinstance(result, DynoctlError):
            ledger.lose(server, "candidate", result)
    failing = {server for failed in rejected.values() for server, _ in failed}
    if failing < set(servers) and preflight.affordable(context, failing):
        for failed in rejected.values():
            for server, detail in failed:
                error = DynoctlError(f"{server}: its candidate did not become healthy", detail)
                ledger.lose(server, "candidate", error)
        return
    for failed in rejected.values():  # those with the same cause once, with the log of one of them
        (first, detail), names = failed[0], enumeration([server for server, _ in failed], NAMED)
        summary = f"release rejected: its candidate did not become healthy on {names}"
        ledger.refuse(Failure(first, "candidate", summary, detail, rejected=True))


def _try(context: Context, server: str, subject: str, trial: Trial) -> str:
    """Run a trial and return its output. Raises StepFailed if the release did not pass it, which only the last command
    decides: those before it, and the records of the trial, may fail because of the server."""
    try:
        commands = context.recorder.trial(trial.commands)
        return context.shells[server].run(commands, step_listener(context, server, subject))
    except StepFailed as error:
        if error.command is not trial.commands[-1]:
            raise NotStarted(error.summary, error.output) from None
        context.recorder.trial_failed(server, error)
        raise
