"""What the engine needs to know of a dyno's layers, whatever framework and app server they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.manifest.model import Manifest, Volume
from infra.model.formation import Formation
from infra.model.provider import Provider, Scope
from infra.model.resource import Change, Command, Resource, Upload
from infra.model.shell import Session

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Stack:
    """A manifest's layers.

    ``ruby`` is the requirement that the Ruby at ``program`` must meet; ``executables`` must be on every server, and
    ``packages`` are the Debian packages that bring them (none: dynoctl is not to install any).
    ``rackup`` and ``config`` are the texts of the generated files, ``environment`` is what every dyno has beside PORT
    and DYNO, ``writable`` are directories of the app. ``web`` is the app server's argv on a socket that it inherits,
    ``candidate`` gives that for a socket's path; ``commands`` are the argv of all other types.
    """

    ruby: str
    program: str
    ruby_fits: Callable[[str], bool]
    executables: tuple[str, ...]
    packages: tuple[str, ...]
    environment: Mapping[str, str]
    writable: tuple[str, ...]
    rackup: str
    config: str
    web: tuple[str, ...]
    candidate: Callable[[str], tuple[str, ...]]
    commands: Mapping[str, tuple[str, ...]]
    release: tuple[str, ...] | None = None
    """The argv of the release phase, if there is one."""
    volumes: tuple[Volume, ...] = ()
    """A release's own: a slug that was made before there was one has no place for it."""
    stop_signal: str = "SIGTERM"
    stop_seconds: int = 30
    """How long a web dyno may take to finish its requests before it is killed."""


@dataclass(frozen=True)
class Slug:
    """The app's tree: its digest now, its image when a server needs it.

    With ``build`` commands the digest names what goes into the build, so that it is known before anything is built;
    ``image`` then runs them, on this machine or through the session that it is given, unless the image is there."""

    digest: str
    image: Callable[[Session | None, Progress], Upload]
    commands: tuple[str, ...] = ()
    """What builds it."""
    builder: str | None = None
    """The server on which it is built; None is here."""


@dataclass(frozen=True)
class Trial:
    """What a release must pass on a server before any dyno moves: ``commands`` end well, or it is rejected. They leave
    nothing."""

    server: str
    commands: tuple[Command, ...]


class Registry(Protocol):
    """Every resource type and layer, handed to the engine by the command line."""

    providers: Sequence[Provider]
    """In the order in which one server's resources are made; removed in reverse."""

    def stack(self, manifest: Manifest) -> Stack:
        """The layers that the manifest names."""
        ...

    def router(self, manifest: Manifest) -> str:
        """The package of the program that routes; "" where nothing does, or nobody is to install it."""
        ...

    def closing(self, kind: str, app: str, page: str | None) -> Sequence[Command]:
        """What makes a server's router show a page instead of the app; without a page, the app again."""
        ...

    def slug(self, manifest: Manifest, stack: Stack) -> Slug:
        """Scan the source. Raises DynoctlError where it cannot be read."""
        ...

    def desired(
        self,
        manifest: Manifest,
        stack: Stack,
        slug: Slug,
        formation: Formation,
        scope: Scope,
        reached: Collection[str],
    ) -> list[Resource]:
        """Every resource that every server of those that were ``reached`` should have."""
        ...

    def candidate(
        self,
        manifest: Manifest,
        stack: Stack,
        slug: Slug,
        server: str,
        scope: Scope,
    ) -> Trial:
        """The rehearsal of a web dyno on a server where slug, rackup and configuration are in place."""
        ...

    def release(
        self,
        manifest: Manifest,
        stack: Stack,
        slug: Slug,
        server: str,
        scope: Scope,
        mark: str,
    ) -> Trial:
        """The release command, on a server where the slug is in place. ``mark`` is the path of a file that is made
        where it has ended well, whoever still waits for it."""
        ...

    def fits(self, version: str, requirement: str) -> bool:
        """Whether a Ruby's version meets a requirement."""
        ...

    def kept(self, app: str, slugs: Sequence[str]) -> frozenset[str]:
        """The keys of the resources that hold slugs, by their digests."""
        ...

    def stored(self, app: str, digest: str, download: Callable[[str, Path], None]) -> Slug:
        """A slug that was made long ago. ``download`` gets the file at a path from a server that has it."""
        ...

    def package_key(self, package: str) -> str:
        """The key of the resource that is a Debian package of a server, as in ``Resource.key``."""
        ...

    def volume_key(self, app: str, volume: str) -> str:
        """The key of the resource that holds a volume. Without a volume ("") it is what the keys of all volumes of the
        app begin with, and no other key does."""
        ...

    def units(self, changes: Sequence[Change]) -> Mapping[str, tuple[str, str]]:
        """The unit files that changes are about, before and after ("" is none), one of each process type."""
        ...

    def alone(self, app: str) -> Command:
        """Fails on a server where a release command of an earlier run is still at work, and says so."""
        ...

    def sweep(self, app: str, *, stop: bool = False) -> Command:
        """Removes what trials of earlier runs left on a server, candidates that still run included. A release command
        that still runs is stopped only with ``stop``, and else named in the output, which is empty if nothing is left.
        """
        ...
