"""The one module that knows every resource type and every layer; the command line hands it to the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.errors import Diagnostic, ManifestInvalid
from infra.formation import Formation
from infra.manifest.model import Manifest
from infra.provider import Provider
from infra.resource import Resource, Upload
from infra.sensitive import Sensitive
from infra.slug.image import build
from infra.slug.tree import scan
from infra.stack import Slug, Stack
from providers import paths, processes
from providers.desired import Wanted, resources
from providers.directory import Directory
from providers.env_file import EnvFile
from providers.mount import Mount
from providers.rackup import Rackup
from providers.slug import Slug as SlugProvider
from providers.unit import Unit
from providers.user import User
from stacks.contract import StackError
from stacks.launch import launch


class Everything:
    """All that dynoctl can put on a server."""

    providers: Sequence[Provider] = (
        Directory(),
        SlugProvider(),
        Mount(),
        Rackup(),
        User(),
        EnvFile(),
        Unit(),
    )
    processes = processes.Processes()

    def headlines(self) -> dict[str, Sequence[str]]:
        """By kind, the attributes worth reading when a resource is new."""
        return {provider.kind: provider.headline for provider in self.providers}

    def stack(self, manifest: Manifest) -> Stack:
        try:
            made = launch(manifest)
        except StackError as error:
            raise ManifestInvalid([Diagnostic(error.summary, path=error.path, hint=error.hint)]) from None
        return Stack(
            ruby=made.ruby,
            ruby_fits=made.ruby_fits,
            executables=made.executables,
            environment=made.environment,
            rackup=made.rackup,
            command=made.argv,
            stop_signal=made.stop.signal,
            stop_seconds=made.stop.seconds,
        )

    def slug(self, manifest: Manifest) -> Slug:
        tree = scan(manifest.app.source)

        def image() -> Upload:
            built = build(tree)
            return Upload(str(built.path), paths.slug(manifest.app.name, built.digest), built.sha256, built.size)

        return Slug(tree.digest, image)

    def desired(
        self,
        manifest: Manifest,
        stack: Stack,
        slug: Slug,
        formation: Formation,
        environments: Mapping[str, Mapping[str, str | Sensitive]],
    ) -> list[Resource]:
        wanted = Wanted(
            app=manifest.app.name,
            slug=slug.digest,
            image=slug.image,
            stack=stack,
            environments=environments,
            shares={type_.name: (type_.cpu, type_.memory) for type_ in manifest.dynos.values()},
        )
        return resources(wanted, formation.dynos)
