"""The contract of a dyno's layers, the same for every framework and app server; and of the registry."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.errors import Diagnostic
from infra.manifest.model import Manifest, Volume, Writable
from infra.model import paths
from infra.model.file_times import FileTimes
from infra.model.formation import Formation
from infra.model.provider import Provider, Scope
from infra.model.resource import Change, Command, Resource, Upload
from infra.model.shell import Session
from infra.model.source_change import SourceDiff

Progress = Callable[[str], None]
TimesBefore = Callable[[], FileTimes]

RELEASE_TIMEOUT = 1800
"""Timeout of the release command in seconds. A migration may take long."""


ORIGINAL = f"{paths.GENERATED}/original.rb"
"""Where a dyno sees the file of the slug that it has another one in place of."""


@dataclass(frozen=True)
class Cover:
    """A file that dynos have in place of one of the slug: its path, relative to the app, and its text."""

    path: str
    text: str


@dataclass(frozen=True)
class Stack:
    """The layers of a manifest.

    ``ruby`` is the requirement for the version of the Ruby at ``program``. ``executables`` must be on every server;
    ``packages`` are the Debian packages that provide them, () if dynoctl does not install them. ``rackup`` and
    ``config`` are the texts of the generated files. ``environment`` are the variables of every dyno besides PORT and
    DYNO, ``writable`` the writable directories of the app. ``web`` is the app server's argv for an inherited socket,
    ``candidate`` returns it for the path of a socket, and ``commands`` are the argv of all other process types.
    """

    ruby: str
    program: str
    ruby_fits: Callable[[str], bool]
    executables: tuple[str, ...]
    packages: tuple[str, ...]
    environment: Mapping[str, str]
    writable: tuple[Writable, ...]
    rackup: str
    config: str
    web: tuple[str, ...]
    candidate: Callable[[str], tuple[str, ...]]
    commands: Mapping[str, tuple[str, ...]]
    release: tuple[str, ...] | None = None
    """The argv of the release command, if there is one."""
    volumes: tuple[Volume, ...] = ()
    """The volumes of the release. Older slugs have no mount points for volumes that were added later."""
    sqlite: tuple[str, ...] = ()
    """The files of SQLite databases, relative to the app."""
    cover: Cover | None = None
    health: str = ""
    """The path of the framework's own health check, if the app has it."""
    stop_signal: str = "SIGTERM"
    stop_seconds: int = 30
    """Seconds that a web dyno has to finish its requests before it is killed."""
    workers: int = 0
    """The worker processes of a web dyno; 0 if it is a single process."""
    bundle_ruby: str = ""
    """The requirement for Ruby of the app's bundle, which is enforced when a dyno starts; "" if there is none."""
    bundle_fits: Callable[[str], bool] = lambda version: True
    """Whether a version of Ruby satisfies it."""
    warnings: tuple[Diagnostic, ...] = ()
    """What is likely wrong with the source."""


@dataclass(frozen=True)
class Slug:
    """The app's source: its digest, and its image once a server needs it.

    With ``build`` commands, the digest is of the input of the build, so that it is known before the build. ``image``
    then runs them, locally or through the given session, unless the image exists. Its last parameter returns the times
    of the slug that its files are compared with: an unchanged file keeps its time."""

    digest: str
    image: Callable[[Session | None, Progress, TimesBefore], Upload]
    commands: tuple[str, ...] = ()
    """The build commands."""
    builder: str | None = None
    """The server that builds it; None is the local machine."""
    left_out: tuple[str, ...] = ()
    """Files of the source that hold credentials, and are not in it."""
    diff: Callable[[str, str, Sequence[Session]], SourceDiff] | None = None
    """The diff between its source and a release with a slug and a commit, of which the files may be read through the
    sessions; None for the slug of an earlier release."""
    holds: Callable[[str], bool] = lambda _: True
    """Whether a path of the source is in it, or would be if the source had it."""
    large: str = ""
    """The size of the source and its largest files, if that is unusual."""
    made_by: Callable[[str], Slug] | None = None
    """The same slug as a builder makes it, which is given in words (``infra.engine.builder``); None if none does."""


@dataclass(frozen=True)
class Trial:
    """A test of a release on a server before any dyno is changed: if one of ``commands`` fails, the release is
    rejected. They leave nothing behind."""

    server: str
    commands: tuple[Command, ...]


class Registry(Protocol):
    """All resource types and layers, passed to the engine by the command line."""

    providers: Sequence[Provider]
    """In the order in which the resources of a server are created; they are removed in reverse order."""

    def stack(self, manifest: Manifest) -> Stack:
        """The layers of the manifest."""
        ...

    def router(self, manifest: Manifest) -> str:
        """The Debian package of the router; "" if there is none, or if dynoctl does not install it."""
        ...

    def closing(self, kind: str, app: str, page: str | None) -> Sequence[Command]:
        """The commands that make a router show a page instead of the app; None shows the app again."""
        ...

    def slug(self, manifest: Manifest, stack: Stack, say: Progress = ...) -> Slug:
        """Scan the source; ``say`` is told how far it is. Raises DynoctlError if it cannot be read."""
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
        """The desired resources of all servers in ``reached``."""
        ...

    def candidate(
        self,
        manifest: Manifest,
        stack: Stack,
        slug: Slug,
        server: str,
        scope: Scope,
    ) -> Trial:
        """The candidate of a web dyno on a server that has the slug, rackup and configuration."""
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
        """The release command, on a server that has the slug. ``mark`` is the path of a file that is created when it
        succeeds, even if the connection was lost."""
        ...

    def fits(self, version: str, requirement: str) -> bool:
        """Whether a Ruby version satisfies a requirement."""
        ...

    def slug_keys(self, app: str, slugs: Sequence[str]) -> frozenset[str]:
        """The keys of the resources of slugs, given by their digests."""
        ...

    def stored(self, app: str, digest: str, download: Callable[[str, Path], None]) -> Slug:
        """The slug of an earlier release. ``download`` fetches the file at a path from a server that has it."""
        ...

    def package_key(self, package: str) -> str:
        """The key of the resource of a Debian package, as in ``Resource.key``."""
        ...

    def build_packages(self, manifest: Manifest) -> tuple[str, ...]:
        """The Debian packages that only the server on which the slug is built needs."""
        ...

    def simulate(self, packages: Sequence[str]) -> Command:
        """A command that changes nothing. ``upgrades`` reads what it prints."""
        ...

    def upgrades(self, server: str, output: str) -> list[Resource]:
        """The upgrades without which Debian packages cannot be installed on a server. Their attributes ``before`` and
        ``after`` are versions."""
        ...

    def volume_key(self, app: str, volume: str) -> str:
        """The key of the resource of a volume. For the volume "", the common prefix of the keys of all volumes of the
        app, and of no other keys."""
        ...

    def units(self, changes: Sequence[Change]) -> Mapping[str, tuple[str, str]]:
        """The unit files before and after the changes ("" is none), one for each process type."""
        ...

    def alone(self, app: str) -> Command:
        """A command that fails, with a message, if the release command of an earlier run is still running on the
        server."""
        ...

    def idle(self, app: str) -> Command:
        """A command that fails, with a message, if a one-off dyno of the app is running on the server."""
        ...

    def sweep(self, app: str, *, stop: bool = False) -> Command:
        """A command that removes what trials of earlier runs left on a server, running candidates included.

        One-off dynos and a running release command are stopped only with ``stop``. Without it, a running release
        command is named in the output, which is empty if nothing is left."""
        ...
