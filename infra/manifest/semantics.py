"""What a schema cannot say: names that collide, ports that overflow, keys that exclude each other."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from infra.errors import Diagnostic
from infra.manifest import urls
from infra.manifest.document import Document
from infra.manifest.source import Path
from infra.manifest.variables import refused
from infra.manifest.wording import quoted

LONGEST_USER = 32
"""Characters of a user's name on Linux."""

HIGHEST_PORT = 65535
FIRST_PORT = 5000


def check(document: Document) -> list[Diagnostic]:
    """Everything that takes more than one place of the file to see. What is broken already is passed over."""
    return [
        *_user_names(document),
        *_ports(document),
        *_app(document),
        *_maps(document),
        *_env(document),
        *_backings(document),
        *_servers(document),
        *_spread(document),
    ]


def _count(document: Document, type_: str) -> int | None:
    whole = document.get(int, "dynos", type_)
    return document.get(int, "dynos", type_, "count") if whole is None else whole


def _user_names(document: Document) -> Iterator[Diagnostic]:
    app = document.get(str, "app", "name")
    if app is None:
        return
    for type_ in document.get(dict, "dynos") or {}:
        count = _count(document, type_)
        if count is None:
            continue
        user = f"dyno-{app}-{type_}-{max(1, count)}"
        over = len(user) - LONGEST_USER
        if over > 0:
            yield document.diagnostic(
                ("app", "name"),
                f"The user {user} would have {len(user)} characters; Linux allows {LONGEST_USER}",
                expected=f"a name of at most {max(1, len(app) - over)} characters",
            )


def _ports(document: Document) -> Iterator[Diagnostic]:
    for type_ in document.get(dict, "dynos") or {}:
        count = _count(document, type_)
        port = document.get(int, "dynos", type_, "port")
        port = FIRST_PORT if port is None else port
        if count is not None and port + count - 1 > HIGHEST_PORT:
            path: Path = ("dynos", type_, "port")
            yield document.diagnostic(
                path if document.has(*path) else path[:2],
                f"{count} dynos from port {port} on need ports up to {port + count - 1}",
                expected=f"ports up to {HIGHEST_PORT}, as all of them may be on one server",
            )


def _app(document: Document) -> Iterator[Diagnostic]:
    if not document.has("framework") and not document.has("rackup"):
        yield document.diagnostic(
            (),
            "Nothing says what the app is: neither framework nor rackup is given",
            expected="framework: {name: sinatra, require: ./app, app: Shop}, or rackup: config.ru",
        )
    if document.has("rackup"):
        for key in ("require", "app"):
            if document.has("framework", key):
                yield document.diagnostic(
                    ("framework", key),
                    f"framework.{key} and rackup exclude each other",
                    key=True,
                    hint="The rackup says what to require and what to run. Remove one of the two.",
                )
    elif document.get(str, "framework", "name") == "rack" and not document.has("framework", "app"):
        yield document.diagnostic(
            ("framework", "name"),
            "Rack itself has no app to run: the key app is missing from framework",
            expected="app: the constant that answers call, like Shop; or rackup: config.ru instead",
        )


def _maps(document: Document) -> Iterator[Diagnostic]:
    first: dict[str, Path] = {}
    for index, _ in enumerate(document.get(list, "middleware") or []):
        path: Path = ("middleware", index, "map")
        prefix = document.get(str, *path)
        if prefix is None:
            continue
        twin = first.setdefault(prefix.rstrip("/"), path)
        if twin != path:
            yield document.diagnostic(
                path,
                f"The path {quoted(prefix)} has an app already",
                hint=f"The first one is on line {document.line(twin)}.",
            )


def _env(document: Document) -> Iterator[Diagnostic]:
    for name in document.get(dict, "env") or {}:
        reason = refused(name)
        if reason and ("env", name) not in document.broken:
            yield document.diagnostic(("env", name), f"env cannot set {quoted(name)}", key=True, hint=reason)
    if document.get(dict, "env", "RACK_ENV") is not None:
        yield document.diagnostic(
            ("env", "RACK_ENV"),
            "RACK_ENV cannot be a secret: the app server takes it on its command line",
            expected="RACK_ENV: production",
        )


def _backings(document: Document) -> Iterator[Diagnostic]:
    for key in ("database", "cache"):
        adapter, url = document.get(str, key, "adapter"), document.get(str, key, "url")
        if adapter is None or url is None:
            continue
        try:
            urls.hosts(url, adapter)
        except urls.UrlError as error:
            yield document.diagnostic((key, "url"), error.summary, expected=error.expected)


def _servers(document: Document) -> Iterator[Diagnostic]:
    names: dict[str, int] = {}
    places: dict[tuple[str, int], int] = {}
    for index, _ in enumerate(document.get(list, "servers") or []):
        path: Path = ("servers", index)
        name, host = document.get(str, *path, "name"), document.get(str, *path, "host")
        listen = document.get(str, *path, "listen")
        if name is not None and names.setdefault(name, index) != index:
            yield document.diagnostic(
                (*path, "name"),
                f"Two servers are called {quoted(name)}",
                hint=f"The first one is on line {document.line(('servers', names[name], 'name'))}.",
            )
        if host is not None:
            port = document.get(int, *path, "port")
            place = (_address(host) or host.lower(), 22 if port is None else port)
            twin = places.setdefault(place, index)
            if twin != index:
                yield document.diagnostic(
                    (*path, "host"),
                    f"{quoted(host)} is listed twice",
                    hint=f"The first one is on line {document.line(('servers', twin, 'host'))}; "
                    "a machine is listed once.",
                )
        if listen is not None and _address(listen) is None:
            yield document.diagnostic(
                (*path, "listen"),
                f"listen cannot be {quoted(listen)}",
                expected="an IP address of the server, like 10.0.0.11",
            )


def _address(text: str) -> str | None:
    """An IP address in the one way to write it, or None."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _spread(document: Document) -> Iterator[Diagnostic]:
    label = document.get(str, "placement", "spread")
    if label is None:
        return
    servers = document.get(list, "servers") or []
    without = [
        str(document.get(str, "servers", index, "name") or f"servers/{index}")
        for index, server in enumerate(servers)
        if isinstance(server, dict) and not document.has("servers", index, "labels", label)
    ]
    if without:
        some = ", ".join(without[:5]) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
        yield document.diagnostic(
            ("placement", "spread"),
            f"The label {quoted(label)} is missing on {some}",
            expected="a label that every server has",
            hint=f"Give each server labels: {{{label}: ...}}",
        )
