"""Every resource that an app's servers should have: the formation turned into values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infra.manifest.model import DynoType, Rollout, Schedule
from infra.model.naming import parse_dyno
from infra.model.provider import Dyno
from infra.model.resource import Resource
from infra.model.stack import Slug, Stack
from infra.model.volume import volume_name, volume_users
from infra.sensitive import Sensitive
from providers import (
    candidate,
    credentials,
    directory,
    dyno_unit,
    env_file,
    launch_file,
    mount,
    package,
    paths,
    release_command,
    schedule,
    slug,
    socket,
    user,
    volume,
)


@dataclass(frozen=True)
class Wanted:
    """One app's release: slug, layers, and each dyno type's variables and limits."""

    app: str
    slug: Slug
    stack: Stack
    environments: Mapping[str, Mapping[str, str | Sensitive]]
    credentials: Mapping[str, Sensitive]
    rollout: Rollout
    types: Mapping[str, DynoType]
    schedules: Mapping[str, Schedule] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, str]:
        """The texts of a web dyno's launch files by kind."""
        return {"rackup": self.stack.rackup, "server_config": self.stack.config}


def resources(wanted: Wanted, dynos: Sequence[Dyno]) -> list[Resource]:
    """The resources of every server that has a dyno."""
    made: list[Resource] = []
    web = {dyno.server for dyno in dynos if dyno.port}
    for server in dict.fromkeys(dyno.server for dyno in dynos):
        made += _server(wanted, server, web=server in web)
    homes = {dyno.name: dyno.server for dyno in dynos}
    for one in wanted.stack.volumes:
        name = volume_name(wanted.app, one.name)
        for server in dict.fromkeys(volume_users(one, homes).values()):
            made.append(Resource(server, volume.Volume.kind, name, volume.desired(wanted.app)))
    for dyno in dynos:
        made += _dyno(wanted, dyno)
    return made


def _server(wanted: Wanted, server: str, *, web: bool) -> list[Resource]:
    digest = wanted.slug.digest
    name = slug.name(wanted.app, digest)
    made = [package.desired(server, one) for one in wanted.stack.packages]
    made += [
        Resource(server, "directory", paths.APP_DIRECTORY, directory.desired()),
        Resource(server, "slug", name, slug.desired(digest), local=wanted.slug.image),
        Resource(server, "mount", name, mount.desired(wanted.app, digest)),
    ]
    for kind, text in wanted.files.items() if web else ():
        file = slug.name(wanted.app, launch_file.digest(text))
        made.append(Resource(server, kind, file, launch_file.desired(text), content=text))
    return made


def unit(wanted: Wanted, dyno: Dyno, argv: tuple[str, ...]) -> dyno_unit.DynoUnit:
    """What the units of one dyno are made from."""
    type_, _ = parse_dyno(dyno.name)
    its = wanted.types.get(type_, wanted.types["web"])
    stack = wanted.stack
    stop = stack.stop_seconds if dyno.port else dyno_unit.STOP_SECONDS
    return dyno_unit.DynoUnit(
        app=wanted.app,
        dyno=dyno.name,
        argv=argv,
        environment=stack.environment,
        slug=wanted.slug.digest,
        cpu=its.cpu,
        memory=its.memory,
        listen=dyno.listen,
        port=dyno.port,
        files={kind: launch_file.digest(text) for kind, text in wanted.files.items()} if dyno.port else {},
        writable=stack.writable,
        credentials=tuple(sorted(wanted.credentials)),
        volumes={one.name: one.path for one in stack.volumes if not one.types or type_ in one.types},
        stop_signal=stack.stop_signal if dyno.port else "SIGTERM",
        stop_seconds=its.stop_timeout or stop,
        ruby=stack.program,
        health=wanted.rollout.health,
        deadline=wanted.rollout.healthy_deadline,
    )


def rehearsal(wanted: Wanted, server: str, nonce: str) -> dyno_unit.DynoUnit:
    """What a candidate on a server is made from."""
    socket_ = candidate.socket(wanted.app, nonce)
    return unit(wanted, Dyno(candidate.DYNO, server, "", 1), wanted.stack.candidate(socket_))


def releasing(wanted: Wanted, server: str) -> dyno_unit.DynoUnit:
    """What the release command on a server is made from: a dyno without a port, as large as a web dyno."""
    assert wanted.stack.release is not None  # noqa: S101  # for mypy: asked for only where there is one
    return unit(wanted, Dyno(release_command.DYNO, server), wanted.stack.release)


def _dyno(wanted: Wanted, dyno: Dyno) -> list[Resource]:
    type_, _ = parse_dyno(dyno.name)
    name = f"{wanted.app}-{dyno.name}"
    argv = wanted.stack.web if dyno.port else wanted.stack.commands[type_]
    its = unit(wanted, dyno, argv)
    made = [
        Resource(dyno.server, "user", name, user.desired(wanted.app, dyno.name), dyno.name),
        Resource(dyno.server, "env_file", name, env_file.desired(wanted.environments[type_]), dyno.name),
    ]
    if wanted.credentials:
        made.append(Resource(dyno.server, "credentials", name, credentials.desired(wanted.credentials), dyno.name))
    if dyno.port:
        listening = socket.desired(wanted.app, dyno.name, dyno.listen, dyno.port)
        made.append(Resource(dyno.server, "socket", name, listening, dyno.name))
    if (scheduled := wanted.schedules.get(type_)) is not None:
        # It reads its files anew whenever it starts, so no change of theirs is one of its own.
        return [*made, Resource(dyno.server, "schedule", name, schedule.attributes(its, scheduled), dyno.name)]
    triggers = tuple(f"{one.kind}.{name}" for one in made)
    return [*made, Resource(dyno.server, "unit", name, dyno_unit.attributes(its), dyno.name, triggers, port=dyno.port)]
