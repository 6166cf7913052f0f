"""The only module that imports all resource types and layers; the command line passes it to the engine."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from infra.errors import Diagnostic, ManifestInvalid
from infra.manifest.cron import problem
from infra.manifest.files import texts_inside
from infra.manifest.model import Manifest
from infra.manifest.references import located, secret_files
from infra.manifest.variables import refused
from infra.model import paths
from infra.model.command_line import argv
from infra.model.formation import Formation
from infra.model.provider import Brief, Provider, Scope
from infra.model.resource import Change, Command, Resource, Upload
from infra.model.shell import Session
from infra.model.source_change import SourceDiff
from infra.model.stack import Progress, Slug, Stack, TimesBefore, Trial
from infra.model.volume import volume_name
from infra.slug import build, image, source_diff
from infra.slug.contents import holding, large
from infra.slug.tree import scan
from providers import candidate, one_off, package, package_upgrade, processes, release_command, run
from providers.credentials import CredentialFiles
from providers.desired import AppRelease, candidate_unit, release_unit, resources
from providers.directory import Directory
from providers.env_file import EnvFile
from providers.health import check_of
from providers.journal import Journal
from providers.launch_file import LaunchFile
from providers.leftover import Leftover
from providers.mount import Mount
from providers.package import Package
from providers.package_upgrade import PackageUpgrade
from providers.router import Router
from providers.router import desired as routed
from providers.routers import KINDS, assembly
from providers.schedule import Schedule
from providers.slice import Slice
from providers.slug import Slug as SlugProvider
from providers.slug import name as slug_name
from providers.socket import Socket
from providers.tmp import Tmp
from providers.unit import Unit, texts
from providers.user import User
from providers.volume import Volume
from stacks import bundle, detect
from stacks.contract import Inherited, StackError, Unix
from stacks.launch import files as reads
from stacks.launch import launch, look
from stacks.manifest_text import app_name, lacks_servers, notes_of, render
from stacks.requirement import satisfies
from stacks.sources import heroku
from stacks.starter import DEFAULT, SLUGIGNORE, STARTERS
from stacks.suggestion import Rules

LARGEST = 1 << 20
"""Bytes of a Gemfile or its lock."""


class Everything:
    """All resource types and layers."""

    providers: Sequence[Provider] = (
        PackageUpgrade(),
        Package(),
        Leftover(),
        Directory(),
        Volume(),
        Slice(),
        Journal(),
        SlugProvider(),
        Mount(),
        LaunchFile("rackup"),
        LaunchFile("server_config"),
        LaunchFile("launcher"),
        LaunchFile("cover"),
        User(),
        EnvFile(),
        CredentialFiles(),
        Tmp(),
        Socket(),
        Unit(),
        Schedule(),
        Router(),
    )
    processes = processes.Processes()
    runs = run.Runs()

    def headlines(self) -> dict[str, Sequence[str]]:
        """The attributes to show for a new resource, by kind."""
        return {provider.kind: provider.headline for provider in self.providers}

    def briefs(self) -> dict[str, Brief]:
        """What is worth a line of the plan on one screen, by kind."""
        return {provider.kind: provider.brief for provider in self.providers}

    def stack(self, manifest: Manifest) -> Stack:
        try:
            made = launch(manifest)
        except StackError as error:
            problem = Diagnostic(error.summary, path=error.path, hint=error.hint)
            raise ManifestInvalid(located(manifest, [problem])) from None
        files = texts_inside(manifest.app.source, (*bundle.FILES, *reads(manifest)), LARGEST)
        gems, seen = bundle.check(manifest, files, made.packages), look(manifest, files)
        types = {name: type_.command for name, type_ in manifest.types.items()}
        databases = (manifest.database, *manifest.databases.values())
        return Stack(
            ruby=manifest.ruby.version,
            program=made.ruby.program,
            ruby_fits=lambda version: satisfies(version, manifest.ruby.version),
            executables=made.programs,
            packages=() if manifest.packages.manual else made.packages,
            environment=made.environment,
            writable=made.writable,
            rackup=made.rackup,
            config=made.config,
            web=made.argv(Inherited()),
            candidate=lambda path: made.argv(Unix(path)),
            commands={name: argv(line) for name, line in types.items() if line is not None},
            release=None if manifest.release_command is None else argv(manifest.release_command),
            volumes=manifest.volumes,
            sqlite=tuple(sorted({backing.path for backing in databases if backing is not None and backing.path})),
            stop_signal=made.stop.signal,
            stop_seconds=made.stop.seconds,
            workers=made.app_server.workers(made.options),
            bundle_ruby=gems.ruby,
            bundle_fits=lambda version: not gems.ruby or satisfies(version, gems.ruby),
            cover=seen.cover,
            health=seen.health,
            warnings=(*gems.warnings, *seen.warnings),
        )

    def router(self, manifest: Manifest) -> str:
        router = manifest.router
        return "" if router is None or manifest.packages.manual else KINDS[router.kind].package

    def closing(self, kind: str, app: str, page: str | None) -> Sequence[Command]:
        program = KINDS[kind]
        return assembly.show_app(program, app) if page is None else assembly.show_page(program, app, page)

    def slug(self, manifest: Manifest, stack: Stack, say: Progress = lambda _: None) -> Slug:
        app = manifest.app
        directories = (*(one.path for one in stack.writable), *(volume.path for volume in stack.volumes))
        tree = scan(app.source, directories, _manifests(manifest), secret_files(manifest), say)

        def diff(slug: str, commit: str, sessions: Sequence[Session]) -> SourceDiff:
            return source_diff.diff(tree, slug, commit, app.name, sessions, built=bool(app.build))

        def packed(session: Session | None, say: Progress, before: TimesBefore) -> Upload:
            return _upload(app.name, image.build(tree, before()))

        left_out = tuple(map(os.fsdecode, tree.left_out))
        source = Slug(tree.digest, packed, left_out=left_out, diff=diff, holds=holding(tree), large=large(tree))
        if not app.build:
            return source
        source = replace(source, commands=app.build, builder=manifest.builder)
        environment = {name: stack.environment[name] for name in ("LANG", "RACK_ENV", "RAILS_ENV")}
        path, builder = stack.environment.get("PATH", ""), manifest.builder or ""
        plain = build.Build(app.name, tree, app.build, environment, path, directories, builder=builder)

        def built(made_by: str) -> Slug:
            work = replace(plain, made_by=made_by)

            def made(session: Session | None, say: Progress, before: TimesBefore) -> Upload:
                return _upload(app.name, image.keep(work.digest, lambda: build.run(work, session, say), before()))

            again = built if builder else None
            return replace(source, digest=work.digest, image=made, made_by=again)

        return built("")

    def desired(
        self,
        manifest: Manifest,
        stack: Stack,
        slug: Slug,
        formation: Formation,
        scope: Scope,
        reached: Collection[str],
    ) -> list[Resource]:
        made = resources(_wanted(manifest, stack, slug, scope), formation.dynos)
        if scope.builder in reached:
            here = {resource.name for resource in made if resource.server == scope.builder}
            made += [package.desired(scope.builder, name) for name in scope.build_packages if name not in here]
        router, web = manifest.router, [dyno for dyno in (*formation.dynos, *formation.unreachable) if dyno.port]
        if router is None:
            return made
        for server in [name for name in router.servers if name in reached]:
            made += [package.desired(server, scope.router)] if scope.router else []
            made.append(routed(server, manifest.app.name, router, web, scope.tls))
        return made

    def candidate(
        self,
        manifest: Manifest,
        stack: Stack,
        slug: Slug,
        server: str,
        scope: Scope,
    ) -> Trial:
        nonce = scope.salt[:8]  # tells the candidate of this run from others
        unit = candidate_unit(_wanted(manifest, stack, slug, scope), server, nonce)
        return Trial(server, candidate.commands(unit, scope, nonce))

    def release(
        self,
        manifest: Manifest,
        stack: Stack,
        slug: Slug,
        server: str,
        scope: Scope,
        mark: str,
    ) -> Trial:
        unit = release_unit(_wanted(manifest, stack, slug, scope), server)
        return Trial(server, release_command.commands(unit, scope, scope.salt[:8], mark))

    def fits(self, version: str, requirement: str) -> bool:
        return satisfies(version, requirement)

    def slug_keys(self, app: str, slugs: Sequence[str]) -> frozenset[str]:
        return frozenset(f"{SlugProvider.kind}.{slug_name(app, digest)}" for digest in slugs)

    def stored(self, app: str, digest: str, download: Callable[[str, Path], None]) -> Slug:
        remote = paths.slug(app, digest)

        def image_of(session: Session | None, say: Progress, before: TimesBefore) -> Upload:
            return _upload(app, image.restore(digest, lambda to: download(remote, to)))

        return Slug(digest, image_of)

    def package_key(self, package: str) -> str:
        return f"{Package.kind}.{package}"

    def build_packages(self, manifest: Manifest) -> tuple[str, ...]:
        return () if manifest.packages.manual else manifest.packages.builder

    def simulate(self, packages: Sequence[str]) -> Command:
        return package_upgrade.simulate(packages)

    def upgrades(self, server: str, output: str) -> list[Resource]:
        return package_upgrade.upgrades(server, output)

    def volume_key(self, app: str, volume: str) -> str:
        return f"{Volume.kind}.{volume_name(app, volume)}"

    def units(self, changes: Sequence[Change]) -> Mapping[str, tuple[str, str]]:
        return texts(changes)

    def alone(self, app: str) -> Command:
        return release_command.alone(app)

    def idle(self, app: str) -> Command:
        return one_off.idle(app)

    def sweep(self, app: str, *, stop: bool = False) -> Command:
        return one_off.sweep(app, stop=stop)

    looked_at: Sequence[str] = detect.FILES

    platforms: Sequence[str] = detect.PLATFORMS

    outputs: Mapping[str, Sequence[str]] = {heroku.Heroku.name: (heroku.CONFIG, heroku.PS)}

    slugignore = SLUGIGNORE

    default_starter = DEFAULT

    def starters(self) -> Sequence[str]:
        return tuple(STARTERS)

    def app_name(self, directory: str) -> str:
        return app_name(directory)

    def found(self, texts: Mapping[str, str], name: str, platform: str) -> str | None:
        app = detect.detect(texts, platform, Rules(refused, problem))
        return None if app is None else render(app, name, ready=False)

    def starter(self, framework: str, name: str) -> str:
        return render(STARTERS[framework], name, ready=True)

    def notes(self, text: str) -> Sequence[str]:
        return notes_of(text)

    def lacks_servers(self, text: str) -> bool:
        return lacks_servers(text)

    def unusable(self, name: str, text: str) -> str:
        return heroku.problem(name, text)


def _wanted(manifest: Manifest, stack: Stack, slug: Slug, scope: Scope) -> AppRelease:
    return AppRelease(
        app=manifest.app.name,
        slug=slug,
        stack=stack,
        environments=scope.environments,
        credentials=scope.credentials,
        rollout=manifest.rollout,
        health=check_of(manifest, stack.health),
        types=manifest.types,
        schedules={schedule.name: schedule for schedule in manifest.schedule},
    )


def _manifests(manifest: Manifest) -> list[Path]:
    """The manifest and the overlays of all destinations. They are not part of the slug, so an edit does not change
    it."""
    file = manifest.file
    return [*manifest.files, *file.parent.glob(f"{glob.escape(file.stem)}.*{glob.escape(file.suffix)}")]


def _upload(app: str, made: image.Image) -> Upload:
    return Upload(str(made.path), paths.slug(app, made.digest), made.sha256, made.size)
