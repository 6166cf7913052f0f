"""What comes before any dyno moves: packages checked, the slug built, a candidate of the release booted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from infra import requirements
from infra.engine import Prepared
from infra.errors import DynoctlError
from infra.events import Event, Listener
from infra.remote.locked import LockedShell
from infra.remote.parallel import each
from infra.resource import Upload


def require(
    prepared: Prepared, shells: Mapping[str, LockedShell], servers: Collection[str]
) -> Mapping[str, list[DynoctlError] | DynoctlError]:
    """What is still missing on each server after its packages were installed; one round trip each."""

    def work(server: str) -> list[DynoctlError]:
        seen = prepared.observer.look_locked(server, shells[server])
        problems = requirements.check({server: seen.facts}, prepared.stack, {server: seen}, installed=True)
        return [
            DynoctlError(one.summary, f"Expected: {one.expected}. {one.hint}" if one.expected else one.hint)
            for one in problems
        ]

    return each(work, sorted(servers))


def image(prepared: Prepared, broken: Collection[str], listener: Listener) -> Upload | None:
    """The slug's image, built where the plan says; None where no server needs it. Raises DynoctlError."""
    plan = prepared.plan
    needed = any(
        change.action == "create" and change.resource.local is not None and change.resource.server not in broken
        for change in plan.changes
    )
    if not needed or prepared.slug is None:
        return None
    builder = plan.builder
    if builder is not None and (builder in broken or builder not in prepared.fleet.sessions):
        raise DynoctlError(f"{builder} was to build the slug, and cannot be used")
    session = None if builder is None else prepared.fleet.sessions[builder]
    return prepared.slug.image(session, lambda text: listener(Event("note", builder or "here", "slug", text)))


def rehearse(
    prepared: Prepared, shells: Mapping[str, LockedShell], servers: Sequence[str], listener: Listener
) -> Mapping[str, DynoctlError | None]:
    """Boot a candidate on each server, all at the same time. StepFailed is the value where one did not answer."""
    variables = prepared.scope.environments["web"]

    def work(server: str) -> None:
        assert prepared.slug is not None  # noqa: S101  # for mypy: candidates are of a slug
        one = prepared.registry.candidate(prepared.manifest, prepared.stack, prepared.slug, server, variables)
        shells[server].run(one.commands, lambda command: listener(Event("step", server, "candidate", command.says)))
        listener(Event("done", server, "candidate", "answered"))

    return each(work, servers)
