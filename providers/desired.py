"""The desired resources of an app's servers, made from its formation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infra.manifest.model import DynoType, Rollout, Schedule
from infra.model import paths, sandbox
from infra.model.command_line import argv
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
    journal,
    launch_file,
    launcher,
    mount,
    package,
    release_command,
    schedule,
    slug,
    socket,
    tmp,
    user,
    volume,
)
from providers import slice as slice_
from providers.health import Check


@dataclass(frozen=True)
class AppRelease:
    """What the resources of an app are made from: its slug, its layers, and the variables and limits of each type."""

    app: str
    slug: Slug
    stack: Stack
    environments: Mapping[str, Mapping[str, str | Sensitive]]
    credentials: Mapping[str, Sensitive]
    rollout: Rollout
    health: Check
    types: Mapping[str, DynoType]
    schedules: Mapping[str, Schedule] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, str]:
        """The texts of a web dyno's launch files, by kind."""
        return {"rackup": self.stack.rackup, "server_config": self.stack.config, **self.every}

    @property
    def every(self) -> dict[str, str]:
        """Those of all other dynos."""
        cover = {} if self.stack.cover is None else {"cover": self.stack.cover.text}
        return {"launcher": launcher.text(self.stack.writable, self.stack.sqlite), **cover}


def resources(release: AppRelease, dynos: Sequence[Dyno]) -> list[Resource]:
    """The desired resources of every server that has a dyno."""
    made: list[Resource] = []
    web = {dyno.server for dyno in dynos if dyno.port}
    for server, mounts in {dyno.server: dyno.mounts for dyno in dynos}.items():
        made += _server(release, server, mounts, web=server in web)
    homes = {dyno.name: dyno.server for dyno in dynos}
    for declared in release.stack.volumes:
        name = volume_name(release.app, declared.name)
        for server in dict.fromkeys(volume_users(declared, homes).values()):
            made.append(
                Resource(server, volume.Volume.kind, name, volume.desired(release.app, declared.name, declared.size))
            )
    for dyno in dynos:
        made += _dyno(release, dyno)
    return made


def _server(release: AppRelease, server: str, mounts: str, *, web: bool) -> list[Resource]:
    digest = release.slug.digest
    name = slug.name(release.app, digest)
    made = [package.desired(server, name) for name in release.stack.packages]
    made += [
        Resource(server, "directory", paths.APP_DIRECTORY, directory.desired()),
        Resource(server, "slice", release.app, slice_.desired()),
        Resource(server, journal.Journal.kind, release.app, journal.desired()),
        Resource(server, "slug", name, slug.desired(digest), local=release.slug.image),
        Resource(server, "mount", name, mount.desired(release.app, digest, mounts)),
    ]
    for kind, text in (release.files if web else release.every).items():
        file = slug.name(release.app, launch_file.digest(text))
        made.append(Resource(server, kind, file, launch_file.desired(text), content=text))
    return made


def unit(release: AppRelease, dyno: Dyno, command: tuple[str, ...]) -> dyno_unit.DynoUnit:
    """What the units of a dyno are made from."""
    type_, _ = parse_dyno(dyno.name)
    dyno_type = release.types.get(type_, release.types["web"])
    # The release command has the volumes of a web dyno, and its limits.
    home = "web" if dyno.name == release_command.DYNO else type_
    stack = release.stack
    stop = stack.stop_seconds if dyno.port else dyno_unit.STOP_SECONDS
    return dyno_unit.DynoUnit(
        app=release.app,
        dyno=dyno.name,
        argv=command,
        environment=stack.environment,
        slug=release.slug.digest,
        mounts=dyno.mounts,
        cpu=dyno.cpu or dyno_type.cpu,
        memory=dyno_type.memory,
        listen=dyno.listen,
        port=dyno.port,
        files={
            kind: launch_file.digest(text) for kind, text in (release.files if dyno.port else release.every).items()
        },
        cover="" if stack.cover is None else stack.cover.path,
        writable=stack.writable,
        config_vars=frozenset(release.environments["web"]),
        credentials=tuple(sorted(release.credentials)),
        volumes={
            declared.name: declared.path for declared in stack.volumes if not declared.types or home in declared.types
        },
        stop_signal=stack.stop_signal if dyno.port else "SIGTERM",
        stop_seconds=dyno_type.stop_timeout or stop,
        workers=stack.workers if dyno.port else 0,
        tmp=dyno_type.tmp,
        shm=dyno_type.shm,
        network=sandbox.network(dyno_type.network, metadata=dyno_type.metadata, ports=dyno_type.bind),
        ruby=stack.program,
        health=release.health,
        health_command=() if dyno.port or dyno_type.health is None else argv(dyno_type.health),
        deadline=release.rollout.healthy_deadline,
        idle=(dyno_type.idle or 0) if dyno.port else 0,
    )


def candidate_unit(release: AppRelease, server: str, nonce: str) -> dyno_unit.DynoUnit:
    """What the unit of a candidate on a server is made from."""
    socket_ = candidate.socket(release.app, nonce)
    return unit(release, Dyno(candidate.DYNO, server, "", 1), release.stack.candidate(socket_))


def release_unit(release: AppRelease, server: str) -> dyno_unit.DynoUnit:
    """What the unit of the release command is made from: a dyno without a port and with a web dyno's limits."""
    assert release.stack.release is not None  # noqa: S101  # for mypy: only called if there is a release command
    return unit(release, Dyno(release_command.DYNO, server), release.stack.release)


def _dyno(release: AppRelease, dyno: Dyno) -> list[Resource]:
    type_, _ = parse_dyno(dyno.name)
    name = f"{release.app}-{dyno.name}"
    settings = unit(release, dyno, release.stack.web if dyno.port else release.stack.commands[type_])
    made = [
        Resource(dyno.server, "user", name, user.desired(release.app, dyno.name), dyno.name),
        Resource(dyno.server, tmp.Tmp.kind, name, tmp.desired(release.app, dyno.name, settings.tmp), dyno.name),
        Resource(dyno.server, "env_file", name, env_file.desired(release.environments[type_]), dyno.name),
    ]
    if release.credentials:
        made.append(Resource(dyno.server, "credentials", name, credentials.desired(release.credentials), dyno.name))
    if dyno.port:
        listening = socket.desired(release.app, dyno.name, dyno.listen, dyno.port, defer=bool(settings.idle))
        made.append(Resource(dyno.server, "socket", name, listening, dyno.name))
    if (scheduled := release.schedules.get(type_)) is not None:
        # A schedule reads its files every time it starts, so their changes need no restart.
        return [*made, Resource(dyno.server, "schedule", name, schedule.attributes(settings, scheduled), dyno.name)]
    triggers = tuple(f"{resource.kind}.{name}" for resource in made)
    return [
        *made,
        Resource(dyno.server, "unit", name, dyno_unit.attributes(settings), dyno.name, triggers, port=dyno.port),
    ]
