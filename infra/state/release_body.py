"""The body of a release: everything that a rollback needs, as one line of JSON that only root can read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from infra import __version__
from infra.errors import DynoctlError
from infra.manifest.model import Volume, Writable
from infra.manifest.variables import refused
from infra.model.stack import Cover, Stack
from infra.model.text import control
from infra.sensitive import Sensitive, reveal
from infra.state.vouching import Vouched

VERSION = 1

_SOCKET = "@socket@"

_RUNS = ("environment", "rackup", "config", "web", "commands", "writable", "stop_signal", "stop_seconds", "program")
"""The keys of a stack that determine what runs; the others are its preconditions."""

_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]{0,200}"

_DIRECTORY = r"(?!\.{1,2}(/|$))[A-Za-z0-9_@+.-]+(/(?!\.{1,2}(/|$))[A-Za-z0-9_@+.-]+)*/?"
"""As ``app.writable`` and ``volumes`` in the schema of the manifest."""

LONGEST_STOP = 24 * 3600
"""Seconds that a dyno may take to stop."""

_OPTIONAL = ("credentials", "volumes", "sqlite", "cover")
"""Keys that also determine it if they are not empty."""


@dataclass(frozen=True)
class Stored:
    """A release that can be rolled back to: its number, the digest of its slug, its layers and its config vars."""

    number: int
    slug: str
    stack: Stack
    environment: Mapping[str, str | Sensitive]
    credentials: Mapping[str, Sensitive]
    vouched: tuple[Vouched, ...] = ()
    """Who vouches for the records that are used."""
    settings: Vouched | None = None
    """Who vouches for the record of the settings, if it is used."""


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
        "writable": [
            [entry.path, entry.size, entry.seed] if entry.size or entry.seed else entry.path for entry in stack.writable
        ],
        "rackup": stack.rackup,
        "config": stack.config,
        "web": list(stack.web),
        "candidate": list(stack.candidate(_SOCKET)),
        "commands": {name: list(argv) for name, argv in stack.commands.items()},
        "volumes": [[volume.name, volume.path, list(volume.types)] for volume in stack.volumes],
        "sqlite": list(stack.sqlite),
        "cover": [] if stack.cover is None else [stack.cover.path, stack.cover.text],
        "health": stack.health,
        "stop_signal": stack.stop_signal,
        "stop_seconds": stack.stop_seconds,
        "workers": stack.workers,
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
        _check(values)
        secrets = {str(name): Sensitive(str(text)) for name, text in values.get("credentials", {}).items()}
        return Stored(number, str(values["slug"]), _stack(values, fits), _environment(values), secrets)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DynoctlError(
            f"cannot read release v{number}: {error}",
            "if a newer dynoctl created it, use that version; list the others: dynoctl releases",
        ) from None


_WORDS = {
    "slug": r"[0-9a-f]{1,64}",
    "ruby": r"[0-9A-Za-z ,.<>=!~-]{0,200}",
    "program": r"/[^\s]{1,300}",
    "stop_signal": r"SIG[A-Z0-9+-]{2,12}",
}
_LISTS = {
    "executables": r"/[^\s]{1,300}",
    "packages": r"[a-z0-9][a-z0-9.+-]{0,100}",
    "secret": _VARIABLE,
    "common": _VARIABLE,
    "web": r"(?s).{0,10000}",
    "candidate": r"(?s).{0,10000}",
}
"""The text of each value, and of each item of a list: what the manifest and the layers can make of them."""


def _check(values: Mapping[str, Any]) -> None:
    """Raise ValueError if a value is not one that a manifest could have led to: a server may have written it."""
    for name, pattern in _WORDS.items():
        _check_text(name, values[name], pattern)
    for name, pattern in _LISTS.items():
        for item in values[name]:
            _check_text(name, item, pattern)
    for name in ("variables", "environment", "credentials"):
        for key, value in values.get(name, {}).items():
            _check_text(name, key, r"[A-Za-z0-9_.-]{1,100}" if name == "credentials" else _VARIABLE)
            if not isinstance(value, str) or "\0" in value:
                raise ValueError(f"{name}: invalid value of {key}")
            if name == "variables" and (why := refused(key)):
                raise ValueError(f"{name}: {key} cannot be set: {why}")
    for key, argv in values["commands"].items():
        _check_text("commands", key, r"[a-z][a-z0-9]{0,100}")
        for item in argv:
            _check_text(f"commands.{key}", item, r"(?s).{0,10000}")
    for entry in values["writable"]:
        path, size, seed = entry if isinstance(entry, list) else (entry, 0, False)
        _check_text("writable", path, _DIRECTORY)
        if type(size) is not int or not 0 <= size < 1 << 54 or type(seed) is not bool:
            raise ValueError("writable: invalid value")
    for path in (*values.get("sqlite", ()), *values.get("cover", ())[:1]):
        _check_text("sqlite", path, _DIRECTORY)
    _check_text("health", values.get("health", ""), r"(/[!-~]{0,200})?")
    for volume, path, types in values.get("volumes", []):
        _check_text("volumes", volume, r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
        _check_text("volumes", path, _DIRECTORY)
        for type_ in types:
            _check_text("volumes", type_, r"[a-z][a-z0-9]{0,100}")
    if not isinstance(values["stop_seconds"], int) or not 0 < values["stop_seconds"] <= LONGEST_STOP:
        raise ValueError("stop_seconds: invalid number")
    if type(values.get("workers", 0)) is not int or not 0 <= values.get("workers", 0) < 1 << 54:
        raise ValueError("workers: invalid number")


def _check_text(name: str, value: object, pattern: str) -> None:
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise ValueError(f"{name}: invalid value")
    if name not in ("web", "candidate") and not name.startswith("commands.") and control(value) is not None:
        raise ValueError(f"{name}: invalid value: it has the control character {control(value)}")


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
        writable=tuple(Writable(*(entry if isinstance(entry, list) else [entry])) for entry in values["writable"]),
        rackup=str(values["rackup"]),
        config=str(values["config"]),
        web=tuple(values["web"]),
        candidate=lambda path: tuple(argument.replace(_SOCKET, path) for argument in candidate),
        commands={name: tuple(argv) for name, argv in values["commands"].items()},
        volumes=tuple(Volume(str(name), str(path), tuple(types)) for name, path, types in values.get("volumes", [])),
        sqlite=tuple(values.get("sqlite", ())),
        cover=Cover(*map(str, values["cover"])) if values.get("cover") else None,
        health=values.get("health", ""),
        stop_signal=str(values["stop_signal"]),
        stop_seconds=int(values["stop_seconds"]),
        workers=values.get("workers", 0),
    )


def _environment(values: Mapping[str, Any]) -> dict[str, str | Sensitive]:
    secret, common = set(values["secret"]), set(values["common"])
    return {
        name: Sensitive(text, common=name in common) if name in secret else str(text)
        for name, text in values["variables"].items()
    }
