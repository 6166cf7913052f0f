"""All that a release runs, as one line of JSON for the servers' root alone: a rollback needs no more than that."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from infra import __version__
from infra.errors import DynoctlError
from infra.manifest.model import Volume
from infra.model.stack import Stack
from infra.sensitive import Sensitive, reveal

VERSION = 1

_SOCKET = "@socket@"

_RUNS = ("environment", "rackup", "config", "web", "commands", "writable", "stop_signal", "stop_seconds", "program")
"""What of a stack makes a difference to what runs; the rest says what must be there for it."""

_SOME = ("credentials", "volumes")
"""What makes one where there is any."""


@dataclass(frozen=True)
class Stored:
    """A release that can be made again: its number, its slug's digest, its layers and its variables."""

    number: int
    slug: str
    stack: Stack
    environment: Mapping[str, str | Sensitive]
    credentials: Mapping[str, Sensitive]


def pack(
    stack: Stack,
    slug: str,
    environment: Mapping[str, str | Sensitive],
    credentials: Mapping[str, Sensitive] = MappingProxyType({}),
) -> str:
    """One line; it holds the environment's secrets."""
    values = {
        "version": VERSION,
        "slug": slug,
        "variables": {name: reveal(value) for name, value in sorted(environment.items())},
        "secret": sorted(name for name, value in environment.items() if isinstance(value, Sensitive)),
        "common": sorted(name for name, value in environment.items() if isinstance(value, Sensitive) and value.common),
        "credentials": {name: value.reveal() for name, value in sorted(credentials.items())},
        "ruby": stack.ruby,
        "program": stack.program,
        "executables": list(stack.executables),
        "packages": list(stack.packages),
        "environment": dict(stack.environment),
        "writable": list(stack.writable),
        "rackup": stack.rackup,
        "config": stack.config,
        "web": list(stack.web),
        "candidate": list(stack.candidate(_SOCKET)),
        "commands": {name: list(argv) for name, argv in stack.commands.items()},
        "volumes": [[one.name, one.path, list(one.types)] for one in stack.volumes],
        "stop_signal": stack.stop_signal,
        "stop_seconds": stack.stop_seconds,
    }
    return json.dumps(values, sort_keys=True)


def content(body: str) -> str:
    """The part of a packed release that tells it from another one; "" where it is damaged."""
    try:
        values = json.loads(body)
        names = ("slug", "variables", *_RUNS, *(name for name in _SOME if values.get(name)))
        return json.dumps({name: values[name] for name in names}, sort_keys=True)
    except (ValueError, KeyError, TypeError):
        return ""


def unpack(number: int, body: str, fits: Callable[[str, str], bool]) -> Stored:
    """The release in ``body``. ``fits`` says whether a Ruby's version meets a requirement.

    Raises DynoctlError where it is not what ``pack`` made."""
    try:
        values = json.loads(body)
        if values["version"] != VERSION:
            raise ValueError(f"format {values['version']}, and dynoctl {__version__} reads format {VERSION}")
        given = {str(name): Sensitive(str(text)) for name, text in values.get("credentials", {}).items()}
        return Stored(number, str(values["slug"]), _stack(values, fits), _environment(values), given)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DynoctlError(
            f"What the servers remember of v{number} cannot be read: {error}",
            "Was it made by a newer dynoctl? dynoctl releases lists the others.",
        ) from None


def names(body: str) -> tuple[list[str], list[str]]:
    """The names of a packed release's variables, and its web dynos' argv: what of it may be shown."""
    try:
        values = json.loads(body)
        return sorted(values["variables"]), [str(word) for word in values["web"]]
    except (ValueError, KeyError, TypeError):
        return [], []


def _stack(values: Mapping[str, Any], fits: Callable[[str, str], bool]) -> Stack:
    ruby, candidate = str(values["ruby"]), [str(word) for word in values["candidate"]]
    return Stack(
        ruby=ruby,
        program=str(values["program"]),
        ruby_fits=lambda version: fits(version, ruby),
        executables=tuple(values["executables"]),
        packages=tuple(values["packages"]),
        environment=dict(values["environment"]),
        writable=tuple(values["writable"]),
        rackup=str(values["rackup"]),
        config=str(values["config"]),
        web=tuple(values["web"]),
        candidate=lambda path: tuple(word.replace(_SOCKET, path) for word in candidate),
        commands={name: tuple(argv) for name, argv in values["commands"].items()},
        volumes=tuple(Volume(str(name), str(path), tuple(types)) for name, path, types in values.get("volumes", [])),
        stop_signal=str(values["stop_signal"]),
        stop_seconds=int(values["stop_seconds"]),
    )


def _environment(values: Mapping[str, Any]) -> dict[str, str | Sensitive]:
    secret, common = set(values["secret"]), set(values["common"])
    return {
        name: Sensitive(text, common=name in common) if name in secret else str(text)
        for name, text in values["variables"].items()
    }
