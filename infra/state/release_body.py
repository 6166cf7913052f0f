"""The body of a release: everything that a rollback needs, as one line of JSON that only root can read."""

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
"""The keys of a stack that determine what runs; the others are its preconditions."""

_OPTIONAL = ("credentials", "volumes")
"""Keys that also determine it if they are not empty."""


@dataclass(frozen=True)
class Stored:
    """A release that can be rolled back to: its number, the digest of its slug, its layers and its config vars."""

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
    """The body of a release as one line. It contains secrets."""
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
        "volumes": [[volume.name, volume.path, list(volume.types)] for volume in stack.volumes],
        "stop_signal": stack.stop_signal,
        "stop_seconds": stack.stop_seconds,
    }
    return json.dumps(values, sort_keys=True)


def content(body: str) -> str:
    """The part of a body that determines what runs; "" if it is damaged."""
    try:
        values = json.loads(body)
        names = ("slug", "variables", *_RUNS, *(name for name in _OPTIONAL if values.get(name)))
        return json.dumps({name: values[name] for name in names}, sort_keys=True)
    except (ValueError, KeyError, TypeError):
        return ""


def unpack(number: int, body: str, fits: Callable[[str, str], bool]) -> Stored:
    """Parse a body. ``fits`` is whether a Ruby version satisfies a requirement.

    Raises DynoctlError if the body is invalid."""
    try:
        values = json.loads(body)
        if values["version"] != VERSION:
            raise ValueError(f"format {values['version']}, and dynoctl {__version__} reads format {VERSION}")
        secrets = {str(name): Sensitive(str(text)) for name, text in values.get("credentials", {}).items()}
        return Stored(number, str(values["slug"]), _stack(values, fits), _environment(values), secrets)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DynoctlError(
            f"cannot read release v{number}: {error}",
            "if a newer dynoctl created it, use that version; list the others: dynoctl releases",
        ) from None


def names(body: str) -> tuple[list[str], list[str]]:
    """What may be shown of a body: the names of its config vars, and the argv of its web dynos."""
    try:
        values = json.loads(body)
        return sorted(values["variables"]), [str(argument) for argument in values["web"]]
    except (ValueError, KeyError, TypeError):
        return [], []


def _stack(values: Mapping[str, Any], fits: Callable[[str, str], bool]) -> Stack:
    ruby, candidate = str(values["ruby"]), [str(argument) for argument in values["candidate"]]
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
        candidate=lambda path: tuple(argument.replace(_SOCKET, path) for argument in candidate),
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
