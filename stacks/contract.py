"""What an app server and a framework must tell about themselves, so that a new one is one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from infra.manifest import model
from infra.manifest.model import Json, Manifest


class StackError(ValueError):
    """The layers do not fit together. ``path`` is the place in the manifest, ``hint`` what to do about it."""

    def __init__(self, path: str, summary: str, hint: str = "") -> None:
        super().__init__(f"{path}: {summary}")
        self.path = path
        self.summary = summary
        self.hint = hint


@dataclass(frozen=True)
class Option:
    """One key of ``app_server.options``."""

    type: Literal["integer", "boolean"]
    description: str
    default: int | bool
    minimum: int = 1

    def schema(self) -> dict[str, Json]:
        """The same as JSON Schema."""
        bounds: dict[str, Json] = {"minimum": self.minimum} if self.type == "integer" else {}
        return {"type": self.type, "description": self.description, "default": self.default, **bounds}

    def accepts(self, value: Json) -> bool:
        """Whether ``value`` is of the type and in the bounds; true and false are no numbers."""
        if self.type == "boolean":
            return isinstance(value, bool)
        return isinstance(value, int) and not isinstance(value, bool) and value >= self.minimum


@dataclass(frozen=True)
class Stop:
    """How to end a process after its open requests: the signal, and the seconds it may take."""

    signal: str
    seconds: int


@dataclass(frozen=True)
class Tcp:
    """An address (IPv4 or IPv6, without brackets) and a port to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Unix:
    """A socket in the filesystem, by its absolute path."""

    path: str


@dataclass(frozen=True)
class Inherited:
    """The listening socket that systemd hands over as file descriptor 3."""


Listen = Tcp | Unix | Inherited


@dataclass(frozen=True)
class Boot:
    """What an app server is started with: absolute paths of its rackup and of its own configuration (the text that
    ``config`` gives), where it listens, and what RACK_ENV says."""

    rackup: str
    config: str
    listen: Listen
    environment: str


class AppServer(Protocol):
    """One app server: the process that systemd starts."""

    @property
    def name(self) -> str:
        """What ``app_server.name`` says; also its program, its gem and its package."""
        ...

    @property
    def options(self) -> Mapping[str, Option]:
        """Every key that ``app_server.options`` may have."""
        ...

    @property
    def stop(self) -> Stop: ...

    def config(self, options: Mapping[str, Json]) -> str:
        """The text of its configuration file: constant Ruby with nothing of the manifest but checked numbers and
        booleans. It is the same for every dyno, wherever that listens."""
        ...

    def arguments(self, options: Mapping[str, Json], boot: Boot) -> tuple[str, ...]:
        """What follows the program's name on its command line, in the slug's directory, in the foreground.

        The server writes its log to stdout or stderr, one line for what matters and none for a request,
        and writes no file.
        """
        ...


@dataclass(frozen=True)
class Entry:
    """Where the app is: what to require, the constant that then is there, and the method that gives the app.

    No ``reader`` means that the constant is the app itself."""

    requires: tuple[str, ...]
    constant: str
    reader: str | None = None


class Framework(Protocol):
    """One framework."""

    @property
    def name(self) -> str:
        """What ``framework.name`` says."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """What it needs beside the environment of every dyno."""
        ...

    @property
    def packages(self) -> tuple[str, ...]:
        """The Debian packages that it comes in, for apps that bring no gems of their own."""
        ...

    @property
    def writable(self) -> tuple[str, ...]:
        """Directories of the app that it writes to."""
        ...

    def check(self, manifest: Manifest) -> None:
        """Raises StackError where it cannot run as the manifest says."""
        ...

    def entry(self, framework: model.Framework) -> Entry:
        """Where the app is, with defaults filled in. Raises StackError where the manifest must say more."""
        ...
