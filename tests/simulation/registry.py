"""The simulated registry: the same questions as the real one's, answered with the simulated providers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.manifest.model import Manifest
from infra.model import naming
from infra.model.formation import Formation
from infra.model.provider import Dyno, Provider, Scope
from infra.model.resource import Attributes, Change, Command, Resource, Upload
from infra.model.slug_digest import on_builder
from infra.model.stack import Progress, Slug, Stack, Trial
from infra.model.target import host_port
from tests.simulation import providers as types
from tests.simulation.providers import sim

TRIAL = 90
"""Seconds that a candidate may take."""


def digest(source: str) -> str:
    """The digest of the slug that is made from a source directory's name; it begins with the name."""
    name = source.strip("/").encode().hex()
    return name + hashlib.sha256(source.encode()).hexdigest()[len(name) :]


class SimRegistry:
    """Implements ``infra.model.stack.Registry``."""

    providers: Sequence[Provider] = (
        types.Upgrade(),
        types.Package(),
        types.Leftover(),
        types.Slug(),
        types.Config(),
        types.Unit(),
        types.Schedule(),
        types.Router(),
    )

    def stack(self, manifest: Manifest) -> Stack:
        commands = {name: type_.command for name, type_ in manifest.types.items() if type_.command is not None}
        release = manifest.release_command
        return Stack(
            ruby=manifest.ruby.version,
            program="/usr/bin/ruby",
            ruby_fits=_fits,
            executables=(),
            packages=() if manifest.packages.manual else ("ruby",),
            environment={},
            writable=(),
            rackup="",
            config="",
            web=("serve",),
            volumes=manifest.volumes,
            candidate=_candidate,
            commands={name: (str(command),) for name, command in commands.items()},
            release=None if release is None else (str(release),),
        )

    def router(self, manifest: Manifest) -> str:
        return "" if manifest.router is None or manifest.packages.manual else "routed"

    def closing(self, kind: str, app: str, page: str | None) -> Sequence[Command]:
        return ()

    def slug(self, manifest: Manifest, stack: Stack, say: Progress = lambda _: None) -> Slug:
        app, name = manifest.app.name, digest(str(manifest.app.source))
        if not manifest.builder:
            return self._slug(app, name)

        def built(digest_of: str) -> Slug:
            made = self._slug(app, digest_of)
            by = lambda words: built(on_builder(name, words))  # noqa: E731
            return replace(made, commands=manifest.app.build, builder=manifest.builder, made_by=by)

        return built(name)

    def _slug(self, app: str, name: str, fetch: Callable[[], None] = lambda: None) -> Slug:
        def image(session: object, say: object, before: object) -> Upload:
            fetch()
            return Upload(f"/cache/{name}", types.slug_path(app, name), name, 1000)

        return Slug(name, image)

    def desired(
        self,
        manifest: Manifest,
        stack: Stack,
        slug: Slug,
        formation: Formation,
        scope: Scope,
        reached: Collection[str],
    ) -> list[Resource]:
        app = manifest.app.name
        made: list[Resource] = []
        for server in dict.fromkeys(dyno.server for dyno in formation.dynos):
            made += [Resource(server, "package", name, {"installed": True}) for name in stack.packages]
            name = types.slug_name(app, slug.digest)
            made.append(Resource(server, "slug", name, {"digest": slug.digest}, local=slug.image))
        calendars = {one.name: one.when for one in manifest.schedule}
        for dyno in formation.dynos:
            made += _dyno(manifest, slug, dyno, scope, calendars)
        router = manifest.router
        if router is not None:
            web = {
                dyno.name: host_port(dyno.listen, dyno.port)
                for dyno in (*formation.dynos, *formation.unreachable)
                if dyno.port
            }
            for server in (name for name in router.servers if name in reached):
                made += [Resource(server, "package", scope.router, {"installed": True})] if scope.router else []
                attributes: Attributes = {"hosts": router.hosts, "upstreams": web, "state": "running"}
                made.append(Resource(server, "router", app, attributes, follows=True))
        return made

    def candidate(self, manifest: Manifest, stack: Stack, slug: Slug, server: str, scope: Scope) -> Trial:
        app, text = manifest.app.name, types.config_text(scope.environments["web"])
        name = f"candidate-{app}.{scope.salt[:8]}"
        return Trial(server, (sim("candidate", app, name, slug.digest, text, timeout=TRIAL, label="boot a candidate"),))

    def release(self, manifest: Manifest, stack: Stack, slug: Slug, server: str, scope: Scope, mark: str) -> Trial:
        app, text = manifest.app.name, types.config_text(scope.environments["web"])
        name = f"release-{app}.{scope.salt[:8]}"
        command = sim("run-release", app, name, slug.digest, text, mark, timeout=1800, label="run the release command")
        return Trial(server, (command,))

    def fits(self, version: str, requirement: str) -> bool:
        return True

    def slug_keys(self, app: str, slugs: Sequence[str]) -> frozenset[str]:
        return frozenset(f"slug.{types.slug_name(app, slug)}" for slug in slugs)

    def stored(self, app: str, digest: str, download: Callable[[str, Path], None]) -> Slug:
        remote = types.slug_path(app, digest)

        def fetch() -> None:
            with TemporaryDirectory() as directory:
                download(remote, Path(directory, "image"))

        return self._slug(app, digest, fetch)

    def package_key(self, package: str) -> str:
        return f"package.{package}"

    def build_packages(self, manifest: Manifest) -> tuple[str, ...]:
        return manifest.packages.builder

    def simulate(self, packages: Sequence[str]) -> Command:
        return types.sim("simulate", *packages)

    def upgrades(self, server: str, output: str) -> list[Resource]:
        words = [line.split() for line in output.splitlines() if line.count(" ") == 2]  # whole, and no error message
        return [Resource(server, "package_upgrade", name, {"before": was, "after": new}) for name, was, new in words]

    def volume_key(self, app: str, volume: str) -> str:
        return f"volume.{app}@{volume}"

    def units(self, changes: Sequence[Change]) -> Mapping[str, tuple[str, str]]:
        return {}

    def alone(self, app: str) -> Command:
        return sim("alone", app)

    def idle(self, app: str) -> Command:
        return sim("idle", app, quiet=True)

    def sweep(self, app: str, *, stop: bool = False) -> Command:
        return sim("sweep", app, "stop" if stop else "", quiet=True)


def _dyno(manifest: Manifest, slug: Slug, dyno: Dyno, scope: Scope, calendars: Mapping[str, str]) -> list[Resource]:
    app = manifest.app.name
    type_, _ = naming.parse_dyno(dyno.name)
    name = f"{app}-{dyno.name}"
    settings = {
        f"Unit.{naming.APP}": app,
        f"Unit.{naming.DYNO}": dyno.name,
        f"Unit.{naming.PORT}": str(dyno.port),
        f"Unit.{naming.CPU}": str(dyno.cpu or manifest.types[type_].cpu),
        "Service.Slug": slug.digest,
        **({"Service.Listen": dyno.listen} if dyno.port else {}),
        "Service.Config": types.config_path(app, dyno.name),
    }
    config = Resource(dyno.server, "config", name, {"variables": scope.environments[type_]}, dyno.name)
    if type_ in calendars:
        settings["Timer.OnCalendar"] = calendars[type_]
        attributes = {"unit": settings, "enabled": True, "state": "waiting"}
        return [config, Resource(dyno.server, "schedule", name, attributes, dyno.name)]
    ready = {"Service.For": naming.user_name(app, dyno.name)}
    attributes = {"unit": settings, "ready": ready, "enabled": True, "state": "running"}
    return [
        config,
        Resource(dyno.server, "unit", name, attributes, dyno.name, triggers=(f"config.{name}",), port=dyno.port),
    ]


def _fits(version: str) -> bool:
    return True


def _candidate(path: str) -> tuple[str, ...]:
    return ("serve", path)
