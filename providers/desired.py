"""Every resource that an app's servers should have: the formation turned into values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from infra.marks import parse_dyno
from infra.provider import Dyno
from infra.resource import Resource, Upload
from infra.sensitive import Sensitive
from infra.stack import Stack
from providers import directory, dyno_unit, env_file, mount, paths, rackup, slug, user


@dataclass(frozen=True)
class Wanted:
    """One app's release: slug, layers, and each dyno type's variables, share and limits."""

    app: str
    slug: str
    image: Callable[[], Upload]
    stack: Stack
    environments: Mapping[str, Mapping[str, str | Sensitive]]
    shares: Mapping[str, tuple[int, int]]
    """Of each dyno type: thousandths of a core, and bytes of memory."""


def resources(wanted: Wanted, dynos: Sequence[Dyno]) -> list[Resource]:
    """The resources of every server that has a dyno."""
    made: list[Resource] = []
    for server in dict.fromkeys(dyno.server for dyno in dynos):
        made += _server(wanted, server)
    for dyno in dynos:
        made += _dyno(wanted, dyno)
    return made


def _server(wanted: Wanted, server: str) -> list[Resource]:
    name = slug.name(wanted.app, wanted.slug)
    made = [
        Resource(server, "directory", paths.APP_DIRECTORY, directory.desired()),
        Resource(server, "slug", name, slug.desired(wanted.slug), local=wanted.image),
        Resource(server, "mount", name, mount.desired(wanted.app, wanted.slug)),
    ]
    if wanted.stack.rackup is not None:
        digest = rackup.digest(wanted.stack.rackup)
        attributes = rackup.desired(wanted.stack.rackup)
        made.append(Resource(server, "rackup", slug.name(wanted.app, digest), attributes, content=wanted.stack.rackup))
    return made


def _dyno(wanted: Wanted, dyno: Dyno) -> list[Resource]:
    type_, _ = parse_dyno(dyno.name)
    name = f"{wanted.app}-{dyno.name}"
    cpu, memory = wanted.shares[type_]
    unit = dyno_unit.DynoUnit(
        app=wanted.app,
        dyno=dyno.name,
        listen=dyno.listen,
        port=dyno.port,
        argv=wanted.stack.command(dyno.listen, dyno.port),
        environment=wanted.stack.environment,
        stop_signal=wanted.stack.stop_signal,
        stop_seconds=wanted.stack.stop_seconds,
        slug=wanted.slug,
        rackup=None if wanted.stack.rackup is None else rackup.digest(wanted.stack.rackup),
        cpu=cpu,
        memory=memory,
    )
    return [
        Resource(dyno.server, "user", name, user.desired(wanted.app, dyno.name), dyno.name),
        Resource(dyno.server, "env_file", name, env_file.desired(wanted.environments[type_]), dyno.name),
        Resource(
            dyno.server,
            "unit",
            name,
            dyno_unit.attributes(unit),
            dyno.name,
            triggers=(f"user.{name}", f"env_file.{name}"),
        ),
    ]
