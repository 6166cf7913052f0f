"""What an app server and a framework must tell about themselves, so that a new one is one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from infra.manifest import model
from infra.manifest.model import Json


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


class AppServer(Protocol):
    """One app server: the process that systemd starts."""

    @property
    def name(self) -> str:
        """What ``app_server.name`` says."""
        ...

    @property
    def executable(self) -> str:
        """The absolute path of the program; it must be on the server."""
        ...

    @property
    def libraries(self) -> tuple[str, ...]:
        """What ``require`` must find."""
        ...

    @property
    def options(self) -> Mapping[str, Option]:
        """Every key that ``app_server.options`` may have."""
        ...

    @property
    def stop(self) -> Stop: ...

    def command(
        self, options: Mapping[str, Json], rackup: str, listen: str, port: int, environment: str
    ) -> tuple[str, ...]:
        """The argv, to be run without a shell in the slug's directory, in the foreground.

        ``rackup`` is an absolute path, ``environment`` what RACK_ENV says. The server writes its log to
        stdout, one line for what matters and none for a request, and writes no file.
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
    def libraries(self) -> tuple[str, ...]:
        """What ``require`` must find."""
        ...

    def entry(self, framework: model.Framework) -> Entry:
        """Where the app is, with defaults filled in. Raises StackError where the manifest must say more."""
        ...
