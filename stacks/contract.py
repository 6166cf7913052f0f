"""The protocols of app servers and frameworks. A new app server or framework is a new file and a registry line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from infra.errors import Diagnostic
from infra.manifest import model
from infra.manifest.model import Json, Manifest
from infra.model.stack import Cover
from infra.model.target import host_port


class StackError(ValueError):
    """The layers cannot be combined. ``path`` is the path in the manifest, ``hint`` how to fix it."""

    def __init__(self, path: str, summary: str, hint: str = "") -> None:
        super().__init__(f"{path}: {summary}")
        self.path = path
        self.summary = summary
        self.hint = hint


@dataclass(frozen=True)
class Option:
    """A key of ``app_server.options``."""

    type: Literal["integer", "boolean"]
    description: str
    default: int | bool
    minimum: int = 1

    def schema(self) -> dict[str, Json]:
        """The option as JSON Schema."""
        bounds: dict[str, Json] = {"minimum": self.minimum} if self.type == "integer" else {}
        return {"type": self.type, "description": self.description, "default": self.default, **bounds}

    def accepts(self, value: Json) -> bool:
        """Whether ``value`` has the type and is in range. true and false are not integers."""
        if self.type == "boolean":
            return isinstance(value, bool)
        return isinstance(value, int) and not isinstance(value, bool) and value >= self.minimum


@dataclass(frozen=True)
class Stop:
    """How to stop a process gracefully: the signal, and the timeout in seconds."""

    signal: str
    seconds: int


@dataclass(frozen=True)
class Tcp:
    """An address (IPv4 or IPv6, without brackets) and a port to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return host_port(self.host, self.port)


@dataclass(frozen=True)
class Unix:
    """A Unix socket by its absolute path."""

    path: str


@dataclass(frozen=True)
class Inherited:
    """The listening socket that systemd passes as file descriptor 3."""


Listen = Tcp | Unix | Inherited


@dataclass(frozen=True)
class Boot:
    """What an app server is started with: the absolute paths of the rackup file and of its own configuration file
    (whose text ``config`` returns), the address to listen on, and the value of RACK_ENV."""

    rackup: str
    config: str
    listen: Listen
    environment: str


class AppServer(Protocol):
    """An app server: the process that systemd starts."""

    @property
    def name(self) -> str:
        """The value of ``app_server.name``. Also the name of the program, the gem and the package."""
        ...

    @property
    def options(self) -> Mapping[str, Option]:
        """The supported keys of ``app_server.options``."""
        ...

    @property
    def stop(self) -> Stop: ...

    def workers(self, options: Mapping[str, Json]) -> int:
        """The number of worker processes, of which its master replaces those that end; 0 if it is a single process."""
        ...

    def config(self, options: Mapping[str, Json]) -> str:
        """The text of the configuration file: constant Ruby, into which only checked numbers and booleans of the
        manifest are inserted. It is the same for all dynos and does not depend on the address."""
        ...

    def arguments(self, options: Mapping[str, Json], boot: Boot) -> tuple[str, ...]:
        """The arguments of the program, which runs in the foreground in the directory of the slug.

        The server must write its log to stdout or stderr, must not log requests and must not write files.
        """
        ...


@dataclass(frozen=True)
class Entry:
    """How to load the app: what to require, the constant, and the method of the constant that returns the app.

    Without ``reader``, the constant is the app itself."""

    requires: tuple[str, ...]
    constant: str
    reader: str | None = None


@dataclass(frozen=True)
class Seen:
    """What a framework sees in an app's source: ``cover`` and ``health`` as in ``Stack``, and what is likely wrong."""

    cover: Cover | None = None
    health: str = ""
    warnings: tuple[Diagnostic, ...] = ()


class Framework(Protocol):
    """A framework."""

    @property
    def name(self) -> str:
        """The value of ``framework.name``."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that it needs in addition to the environment of every dyno."""
        ...

    @property
    def packages(self) -> tuple[str, ...]:
        """The Debian packages of the framework, for apps without a bundle."""
        ...

    @property
    def writable(self) -> tuple[str, ...]:
        """Directories of the app that the framework writes to."""
        ...

    def check(self, manifest: Manifest) -> None:
        """Raises StackError if the framework cannot run with this manifest."""
        ...

    def files(self, manifest: Manifest) -> Sequence[str]:
        """The files of the source that ``look`` reads."""
        ...

    def look(self, manifest: Manifest, files: Mapping[str, str]) -> Seen:
        """What the source says, from the texts of those files that exist."""
        ...

    def entry(self, framework: model.Framework) -> Entry:
        """How to load the app, with defaults filled in. Raises StackError if the manifest lacks a key."""
        ...
