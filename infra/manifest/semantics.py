"""What a schema cannot say: names that collide, ports that overflow, files that are not there."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path as File
from typing import Any

from infra.errors import Diagnostic
from infra.manifest import backing_semantics, router_semantics, schedule_semantics, volume_semantics
from infra.manifest.document import Document, Path
from infra.manifest.model import Json
from infra.manifest.places import is_file, place
from infra.manifest.variables import refused
from schemas import load

LONGEST_USER = 32
"""Characters of a login name on Linux (shadow's useradd)."""

MOST = 10000
"""Dynos of one type; the schema's own bound."""

_HIDDEN = ("/home", "/root", "/tmp", "/var/tmp", "/run/user", "/app")  # noqa: S108  # names only
"""What a dyno's sandbox empties or replaces."""


def check(document: Document, base: File) -> Iterator[Diagnostic]:
    """Every problem that needs more than one place of the file, or the files beside it."""
    data = document.data if isinstance(document.data, dict) else {}
    yield from _servers(document, data)
    yield from _names(document, data)
    yield from _app(document, data, base)
    yield from _middleware(document, data, base)
    yield from _environment(document, data)
    yield from _runtime(document, data)
    yield from backing_semantics.check(document, data)
    yield from router_semantics.check(document, data)
    yield from schedule_semantics.check(document, data)
    yield from volume_semantics.check(document, data)
    yield from _ssh(document, data, base)
    for type_ in _map(_map(data.get("checks")).get("min_healthy")):
        if type_ not in (_map(data.get("dynos")) or ("web",)):
            yield document.diagnostic(("checks", "min_healthy", type_), f"there are no dynos called {type_}", key=True)


def _map(value: Json) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Any]:
    return value if isinstance(value, list) else []


def _servers(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    groups = _map(data.get("groups"))
    names: dict[str, int] = {}
    places: dict[tuple[str, int], int] = {}
    spread = _map(data.get("placement")).get("spread")
    for index, server in enumerate(_list(data.get("servers"))):
        server = _map(server)
        path: Path = ("servers", index)
        name, host, port = server.get("name"), server.get("host"), server.get("port", 22)
        if isinstance(name, str) and names.setdefault(name, index) != index:
            yield document.diagnostic(
                (*path, "name"),
                f"there are two servers called {name}",
                hint=f"The first is servers/{names[name]}.",
            )
        if isinstance(host, str) and isinstance(port, int) and places.setdefault((host, port), index) != index:
            yield document.diagnostic(
                (*path, "host"),
                f"{host} is listed twice",
                hint=f"The first is servers/{places[(host, port)]}.",
            )
        for number, group in enumerate(_list(server.get("groups"))):
            if isinstance(group, str) and group not in groups:
                close = difflib.get_close_matches(group, groups, 1)
                yield document.diagnostic(
                    (*path, "groups", number),
                    f"there is no group {group}",
                    hint=f"Did you mean {close[0]}?" if close else "Groups stand under groups, by name.",
                )
        listen = server.get("listen")
        if isinstance(listen, str) and listen and not _is_address(listen):
            yield document.diagnostic(
                (*path, "listen"), f"listen cannot be {listen!r}", expected="an IP address of the server"
            )
        if isinstance(spread, str) and spread not in _map(server.get("labels")):
            yield document.diagnostic(
                path,
                f"the server has no label {spread}, over which placement spreads",
                expected=f"labels: {{{spread}: ...}}",
            )


def _is_address(text: str) -> bool:
    if not text.isprintable():
        return False  # what follows the % of an IPv6 address may be anything
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _names(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    app = _map(data.get("app")).get("name")
    for type_, value in _map(data.get("dynos")).items():
        entry = _map(value)
        count = value if isinstance(value, int) else entry.get("count", 1 if "command" in entry else None)
        if not isinstance(count, int) or isinstance(count, bool):
            continue
        if isinstance(app, str):
            user = f"dyno-{app}-{type_}-{max(count, 1)}"
            over = len(user) - LONGEST_USER
            if over > 0:
                yield document.diagnostic(
                    ("app", "name"),
                    f"the user {user} would have {len(user)} characters, and Linux allows {LONGEST_USER}",
                    expected=f"an app name of at most {len(app) - over} characters"
                    if over < len(app)
                    else "a shorter name",
                )
        port = entry.get("port", 5000)
        if count > MOST:
            continue  # the schema says so
        if type_ == "web" and isinstance(port, int) and port + count - 1 > 65535:
            yield document.diagnostic(
                ("dynos", type_, "port"),
                f"{count} dynos from port {port} need ports up to {port + count - 1}",
                expected=f"at most {65536 - count}",
            )


def _app(document: Document, data: Mapping[str, Any], base: File) -> Iterator[Diagnostic]:
    source = _source(data, base)
    framework, rackup = data.get("framework"), data.get("rackup")
    if framework is None and rackup is None:
        yield document.diagnostic(
            (),
            "neither framework nor rackup says where the app is",
            expected=f"framework: {{{_example()}}}, or rackup: config.ru",
        )
    entry = _map(framework)
    if rackup is not None:
        for key in ("require", "app"):
            if key in entry:
                yield document.diagnostic(
                    ("framework", key),
                    f"framework.{key} and rackup exclude each other",
                    key=True,
                    hint="Keep the one that is meant.",
                )
    elif isinstance(framework, dict) and "app" not in entry and str(entry.get("name")) not in _knowing():
        yield document.diagnostic(
            ("framework",),
            "framework has no app",
            key=True,
            expected="app: the constant that answers call, or a rackup beside framework",
        )
    if source is None:
        return
    where = ("app", "source")
    if not source.exists():
        yield document.diagnostic(where, f"there is no directory {source}")
    elif not source.is_dir():
        yield document.diagnostic(where, f"{source} is not a directory")
    else:
        if isinstance(rackup, str) and rackup:
            yield from _inside(document, ("rackup",), source, rackup, "the rackup")
        elif "require" not in entry:
            yield from _required(document, ("framework",), source, _knowing().get(str(entry.get("name"))))
        yield from _required(document, ("framework", "require"), source, entry.get("require"))


def _knowing() -> Mapping[str, str]:
    """The frameworks that know their own app, each with what it requires for it: the schema says so."""
    known: Mapping[str, str] = load("dyno.schema.json")["properties"]["framework"]["x-knows-its-app"]
    return known


def _example() -> str:
    """The schema's first example of a framework."""
    example: Mapping[str, str] = load("dyno.schema.json")["properties"]["framework"]["examples"][0]
    return ", ".join(f"{key}: {value}" for key, value in example.items())


def _source(data: Mapping[str, Any], base: File) -> File | None:
    source = _map(data.get("app")).get("source")
    return place(base, source) if isinstance(source, str) and source else None


def _inside(document: Document, path: Path, source: File, name: str, what: str) -> Iterator[Diagnostic]:
    full = source / name
    if File(name).is_absolute() or not full.resolve().is_relative_to(source.resolve()):
        yield document.diagnostic(path, f"{what} {name} is outside of the source", expected="a path below app.source")
    elif not full.is_file():
        yield document.diagnostic(path, f"there is no {name} in the source", expected=f"a file below {source}")


def _required(document: Document, path: Path, source: File, name: Json) -> Iterator[Diagnostic]:
    """A require that starts with ./ is a file of the slug; any other is a library that the server has."""
    if isinstance(name, str) and name.startswith(("./", "../")):
        yield from _inside(document, path, source, name if name.endswith(".rb") else f"{name}.rb", "the file")


def _runtime(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    program = _map(data.get("ruby")).get("path")
    if isinstance(program, str):
        hidden = next((place for place in _HIDDEN if program.startswith(f"{place}/")), None)
        if hidden is not None:
            yield document.diagnostic(
                ("ruby", "path"),
                f"a dyno does not see {hidden} of the server, so no Ruby in it",
                expected="a Ruby below /opt, /usr/local or the like",
            )
    builder = data.get("builder")
    names = [_map(server).get("name") for server in _list(data.get("servers"))]
    if isinstance(builder, str) and builder and builder not in names:
        yield document.diagnostic(
            ("builder",),
            f"there is no server called {builder}",
            expected=f"one of {', '.join(str(name) for name in names)}",
        )
    elif isinstance(builder, str) and not _map(data.get("app")).get("build"):
        yield document.diagnostic(
            ("builder",), f"{builder} has nothing to build", key=True, expected="commands in app.build"
        )


def _middleware(document: Document, data: Mapping[str, Any], base: File) -> Iterator[Diagnostic]:
    source = _source(data, base)
    mapped: dict[str, int] = {}
    for index, entry in enumerate(_list(data.get("middleware"))):
        entry = _map(entry)
        path: Path = ("middleware", index)
        if ("use" in entry) == ("map" in entry):
            both = "both use and map" if "use" in entry else "neither use nor map"
            yield document.diagnostic(
                path, f"this entry has {both}", expected="use: a middleware, or map: a URL prefix"
            )
            continue
        wrong = ("app",) if "use" in entry else ("args", "options")
        for key in wrong:
            if key in entry:
                kind = "use" if "use" in entry else "map"
                yield document.diagnostic((*path, key), f"{key} does not go with {kind}", key=True)
        if "map" in entry:
            if "app" not in entry:
                yield document.diagnostic(path, "this map has no app", expected="app: the constant that answers call")
            url = entry["map"]
            if isinstance(url, str) and mapped.setdefault(url.rstrip("/"), index) != index:
                first = mapped[url.rstrip("/")]
                yield document.diagnostic(
                    (*path, "map"), f"{url} is mapped twice", hint=f"The first is middleware/{first}."
                )
        if source is not None and source.is_dir():
            yield from _required(document, (*path, "require"), source, entry.get("require"))


def _environment(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    for name, value in _map(data.get("env")).items():
        path = ("env", name)
        reason = refused(name)
        if reason:
            yield document.diagnostic(path, f"env cannot set {name}", key=True, hint=reason)
        if value is None:
            yield document.diagnostic(
                path, f"{name} has no value", key=True, expected='a value; write "" for an empty one'
            )


def _ssh(document: Document, data: Mapping[str, Any], base: File) -> Iterator[Diagnostic]:
    for key in ("key", "known_hosts"):
        name = _map(data.get("ssh")).get(key)
        if isinstance(name, str) and name and not is_file(place(base, name)):
            yield document.diagnostic(("ssh", key), f"there is no file {name}")
