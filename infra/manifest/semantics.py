"""Checks that a schema cannot express: duplicate names, ports out of range, missing files."""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path as File
from typing import Any

from infra.errors import Diagnostic
from infra.manifest import (
    addresses,
    artifact_semantics,
    backing_semantics,
    check_semantics,
    closed,
    label_semantics,
    masking,
    package_semantics,
    process_semantics,
    rollout_semantics,
    router_semantics,
    schedule_semantics,
    server_semantics,
    volume_semantics,
)
from infra.manifest.addresses import is_port
from infra.manifest.document import Document, Path, list_of, map_of
from infra.manifest.model import Json
from infra.manifest.paths import exists, is_directory, is_file, resolve_path, resolved
from schemas import load

LONGEST_USER = 32
"""Maximum length of a user name on Linux, in characters (useradd(8) of shadow)."""

MOST = 10000
"""Maximum number of dynos of a process type, as in the schema."""

_HIDDEN = ("/home", "/root", "/tmp", "/var/tmp", "/run/user", "/app")  # noqa: S108  # names only
"""Directories that are hidden or replaced in the sandbox of a dyno."""

_WRITTEN = re.compile(r"/(?:srv/dyno|var/lib/dynoctl[^/]*|dev|proc)(?=/)")
"""Directories whose files an app or a dyno writes. Others are checked on the servers."""


def check(document: Document, base: File) -> Iterator[Diagnostic]:
    """Every error that involves several keys, or files next to the manifest."""
    data = document.data if isinstance(document.data, dict) else {}
    yield from server_semantics.check(document, data)
    yield from _names(document, data)
    yield from _app(document, data, base)
    yield from _middleware(document, data, base)
    yield from process_semantics.check(document, data, base)
    yield from _runtime(document, data)
    yield from backing_semantics.check(document, data)
    yield from router_semantics.check(document, data)
    yield from schedule_semantics.check(document, data)
    yield from volume_semantics.check(document, data)
    yield from label_semantics.check(document, data)
    yield from package_semantics.check(document, data)
    yield from rollout_semantics.check(document, data)
    yield from artifact_semantics.check(document, data)
    yield from _ssh(document, data, base)
    yield from check_semantics.check(document, data)


def _names(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    app = map_of(data.get("app")).get("name")
    users: list[str] = []
    for type_, value in map_of(data.get("dynos")).items():
        entry = map_of(value)
        count = value if isinstance(value, int) else entry.get("count", 1 if "command" in entry else None)
        if not isinstance(count, int) or isinstance(count, bool):
            continue
        users.append(f"dyno-{app}-{type_}-{max(count, 1)}")
        port = entry.get("port", 5000)
        if count > MOST:
            continue  # the schema reports it
        if type_ == "web" and isinstance(port, int) and port + count - 1 > 65535:
            yield document.diagnostic(
                ("dynos", type_, "port"),
                f"ports out of range: {count} dynos from port {port} on need ports up to {port + count - 1}",
                expected=f"at most {65536 - count}",
            )
    user = max(users, key=len, default="")
    over = len(user) - LONGEST_USER
    if isinstance(app, str) and over > 0:
        at_most = f"an app name of at most {len(app) - over} character{'' if len(app) - over == 1 else 's'}"
        yield document.diagnostic(
            ("app", "name"),
            f"the user name {user} is too long: {len(user)} characters, and Linux allows {LONGEST_USER}",
            expected=at_most if over < len(app) else "a shorter name",
        )


def _app(document: Document, data: Mapping[str, Any], base: File) -> Iterator[Diagnostic]:
    source = _source(data, base)
    framework, rackup = data.get("framework"), data.get("rackup")
    if framework is None and rackup is None:
        yield document.diagnostic(
            (),
            "missing key 'framework' or 'rackup'",
            expected=f"framework: {{{_example()}}}, or rackup: config.ru",
        )
    entry = map_of(framework)
    if rackup is not None:
        for key in ("require", "app"):
            if key in entry:
                yield document.diagnostic(
                    ("framework", key),
                    f"framework.{key} and rackup cannot be combined",
                    key=True,
                    hint=f"remove framework.{key} or rackup",
                )
    elif entry.get("name") in _frameworks() and "app" not in entry and entry["name"] not in _known_apps():
        yield document.diagnostic(
            ("framework",),
            "missing key 'app' in framework",
            key=True,
            expected="app: a constant that responds to call, or rackup",
        )
    if source is None:
        return
    if denied := closed.behind(source, str(source)):
        yield document.diagnostic(("app", "source"), denied.summary, expected="an existing directory", hint=denied.hint)
    elif not exists(source):
        yield document.diagnostic(("app", "source"), f"directory {source} not found", expected="an existing directory")
    elif not is_directory(source):
        yield document.diagnostic(("app", "source"), f"{source} is not a directory", expected="an existing directory")
    else:
        if isinstance(rackup, str) and rackup:
            yield from _inside(document, ("rackup",), source, rackup, "rackup file")
        elif "require" not in entry:
            yield from _required(document, ("framework",), source, _known_apps().get(str(entry.get("name"))))
        yield from _required(document, ("framework", "require"), source, entry.get("require"))


def _frameworks() -> list[str]:
    names: list[str] = load("dyno.schema.json")["properties"]["framework"]["properties"]["name"]["enum"]
    return names


def _known_apps() -> Mapping[str, str]:
    """The frameworks that find their own app, each with the file that it requires. The schema names them."""
    apps: Mapping[str, str] = load("dyno.schema.json")["properties"]["framework"]["x-knows-its-app"]
    return apps


def _example() -> str:
    """The first example of a framework in the schema."""
    example: Mapping[str, str] = load("dyno.schema.json")["properties"]["framework"]["examples"][0]
    return ", ".join(f"{key}: {value}" for key, value in example.items())


def _source(data: Mapping[str, Any], base: File) -> File | None:
    source = map_of(data.get("app")).get("source")
    return resolve_path(base, source) if isinstance(source, str) and source else None


def _inside(document: Document, path: Path, source: File, name: str, kind: str) -> Iterator[Diagnostic]:
    full = source / name
    if File(name).is_absolute() or not resolved(full).is_relative_to(resolved(source)):
        yield document.diagnostic(path, f"{kind} {name} is outside of app.source", expected="a path below app.source")
    elif denied := closed.behind(full, f"{kind} {name}"):
        yield document.diagnostic(path, denied.summary, expected=f"a file below {source}", hint=denied.hint)
    elif not is_file(full):
        close = _close_file(full)
        yield document.diagnostic(
            path,
            f"{kind} {name} not found in app.source",
            expected=f"a file below {source}",
            hint=f"did you mean {close}?" if close else "",
        )


def _close_file(path: File) -> str:
    """The name of a file in the same directory that is close to a name, or ""."""
    try:
        names = [entry.name for entry in islice(path.parent.iterdir(), 1000)]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, 1, 0.7)
    return close[0] if close and close[0].isprintable() and is_file(path.with_name(close[0])) else ""


def _required(document: Document, path: Path, source: File, name: Json) -> Iterator[Diagnostic]:
    """Check a require. A path that starts with ./ is a file of the slug, anything else a library on the server."""
    if not isinstance(name, str):
        return
    file = name if name.endswith(".rb") else f"{name}.rb"
    if name.startswith(("./", "../")):
        yield from _inside(document, path, source, file, "file")
    elif path[0] == "framework" and not (name.startswith("/") or _has_load_path(document)) and is_file(source / file):
        summary = f"{name} is a library, and app.source has a file of this name"
        yield document.diagnostic(path, summary, expected="a path that starts with ./ for a file", hint=f"use ./{name}")


def _has_load_path(document: Document) -> bool:
    """Whether ``env`` may add directories in which Ruby looks for libraries, such as that of the app."""
    data = document.data if isinstance(document.data, dict) else {}
    return not {"RUBYLIB", "RUBYOPT"}.isdisjoint(map_of(data.get("env")))


def _runtime(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    program = map_of(data.get("ruby")).get("path")
    if isinstance(program, str):
        whole = posixpath.normpath(program)
        written = _WRITTEN.match(whole)
        if written is not None:
            yield document.diagnostic(
                ("ruby", "path"),
                f"{program} is not a program of the server: apps write files in {written[0]}",
                expected="a program that root alone can change, such as /opt/ruby/bin/ruby",
            )
        hidden = next((path for path in _HIDDEN if whole.startswith(f"{path}/")), None)
        if hidden is not None:
            yield document.diagnostic(
                ("ruby", "path"),
                f"{program} is not visible in a dyno: {hidden} is hidden by the sandbox",
                expected=f"a path outside of {', '.join(_HIDDEN[:-1])} and {_HIDDEN[-1]}, such as /opt/ruby/bin/ruby",
            )
    builder = data.get("builder")
    names = [map_of(server).get("name") for server in list_of(data.get("servers"))]
    if isinstance(builder, str) and builder and builder not in names:
        yield document.diagnostic(
            ("builder",),
            f"unknown server {builder}",
            expected=f"one of: {', '.join(str(name) for name in names)}",
        )
    elif isinstance(builder, str) and not map_of(data.get("app")).get("build"):
        yield document.diagnostic(
            ("builder",), "builder requires app.build", key=True, expected="commands in app.build"
        )


def _middleware(document: Document, data: Mapping[str, Any], base: File) -> Iterator[Diagnostic]:
    source = _source(data, base)
    mapped: dict[str, int] = {}
    for index, entry in enumerate(list_of(data.get("middleware"))):
        entry = map_of(entry)
        path: Path = ("middleware", index)
        if ("use" in entry) == ("map" in entry):
            summary = (
                "use and map cannot be combined"
                if "use" in entry
                else f"missing key 'use' or 'map' in middleware/{index}"
            )
            yield document.diagnostic(path, summary, expected="use: a middleware, or map: a URL prefix")
            continue
        conflicting = ("app",) if "use" in entry else ("args", "options")
        for key in conflicting:
            if key in entry:
                kind = "use" if "use" in entry else "map"
                yield document.diagnostic(
                    (*path, key), f"{key} and {kind} cannot be combined", key=True, hint=f"remove {key} or {kind}"
                )
        if "map" in entry:
            if "app" not in entry:
                yield document.diagnostic(
                    path, f"missing key 'app' in middleware/{index}", expected="app: a constant that responds to call"
                )
            url = entry["map"]
            if isinstance(url, str) and mapped.setdefault(url.rstrip("/"), index) != index:
                first = mapped[url.rstrip("/")]
                yield document.diagnostic(
                    (*path, "map"), f"duplicate map {url}", hint=f"remove it here or in middleware/{first}"
                )
        if source is not None and is_directory(source):
            yield from _required(document, (*path, "require"), source, entry.get("require"))


def _ssh(document: Document, data: Mapping[str, Any], base: File) -> Iterator[Diagnostic]:
    gateway = map_of(data.get("ssh")).get("gateway")
    if isinstance(gateway, str) and (port := re.search(r":([0-9]{1,20})$", gateway)) and not is_port(port[1]):
        summary, expected = f"invalid value for gateway: {gateway!r}", "[user@]host[:port], with a port of 1 to 65535"
        hint = addresses.hint(("ssh", "gateway"), gateway)
        yield document.diagnostic(("ssh", "gateway"), summary, expected=expected, hint=hint)
    for key in ("key", "known_hosts"):
        name = map_of(data.get("ssh")).get(key)
        if not isinstance(name, str) or not name or is_file(resolve_path(base, name)):
            continue
        if not name.isprintable() or "-----" in name:  # the key itself: it is a secret
            summary = f"{key} is not a path"
            hint = "put the text into a file that only you can read, and write its path"
        elif not masking.is_shown(("ssh", key), name):
            sample = "~/.ssh/known_hosts" if key == "known_hosts" else "~/.ssh/id_ed25519"
            summary, hint = f"the file of ssh.{key} was not found", f"write its path, such as {key}: {sample}"
        else:
            file = resolve_path(base, name)
            found = f"{name} is {'a directory' if is_directory(file) else 'not a regular file'}"
            summary = found if exists(file) else f"file {name} not found"
            others = "the keys of ssh_config and of the SSH agent" if key == "key" else "the known_hosts of ssh_config"
            hint = f"without ssh.{key}, dynoctl uses {others}"
            if denied := closed.behind(file, f"file {name}"):
                summary, hint = denied.summary, denied.hint
        yield document.diagnostic(("ssh", key), summary, expected="an existing file", hint=hint)
