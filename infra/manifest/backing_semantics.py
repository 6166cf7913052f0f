"""Checks of databases and caches that a schema cannot express: URL or parts, and what the adapter supports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.errors import Diagnostic
from infra.manifest import addresses
from infra.manifest.backings import PORTS
from infra.manifest.document import Document, Path
from infra.manifest.urls import SCHEMES, check_url, parse

_PARTS = ("host", "port", "name", "user", "password", "options")

_FILE = "a file in a volume, such as storage/production.sqlite3"


def check(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Every error in ``database``, ``cache``, ``databases`` and ``caches``."""
    for kind in ("database", "cache"):
        if isinstance(data.get(kind), dict):
            yield from _backing(document, (kind,), data[kind])
        entries = data.get(f"{kind}s")
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            if isinstance(entry, dict):
                yield from _backing(document, (f"{kind}s", name), entry)


def _backing(document: Document, path: Path, entry: Mapping[str, Any]) -> Iterator[Diagnostic]:
    adapter, url = entry.get("adapter"), entry.get("url")
    if not isinstance(adapter, str) or adapter not in (*SCHEMES, "sqlite", "sqlite3"):
        return  # the schema reports it
    if adapter in ("sqlite", "sqlite3"):
        yield from _sqlite(document, path, entry)
        return
    if "path" in entry:
        yield _unsupported(document, path, adapter, "path")
    parts = [key for key in _PARTS if key in entry]
    if "url" in entry:
        for key in parts:
            yield document.diagnostic(
                (*path, key), f"{key} and url cannot be combined", key=True, hint=f"remove {key} or url"
            )
        if isinstance(url, str) and (problem := check_url(url, adapter)) is not None:
            yield document.diagnostic((*path, "url"), problem.summary, expected=problem.expected, hint=problem.hint)
        elif isinstance(url, str) and adapter == "redis" and not _is_redis_name(url):
            summary = "invalid redis URL: the path is not the number of a database"
            yield document.diagnostic((*path, "url"), summary, expected="redis://host:port/0")
        return
    if "host" not in entry:
        yield document.diagnostic(
            path,
            f"missing key 'url' or 'host' in {'/'.join(map(str, path))}",
            key=True,
            expected="url, or host with name, user and password",
        )
    yield from _adapter(document, path, entry, adapter)


def _adapter(document: Document, path: Path, entry: Mapping[str, Any], adapter: str) -> Iterator[Diagnostic]:
    host, name = entry.get("host"), entry.get("name")
    if adapter != "memcached" and isinstance(host, str) and "," in host:
        yield document.diagnostic(
            (*path, "host"), f"{adapter} supports a single host only", expected="an IP address or a host name"
        )
    if adapter == "memcached" and isinstance(host, str) and "," in host and (found := _ports(host)):
        yield document.diagnostic(
            (*path, "host"),
            "host has the ports of its servers",
            expected="host names, separated by commas, with one port for all",
            hint=found,
        )
    if isinstance(host, str) and re.fullmatch(r"[^:,]+:[0-9]{1,5}", host):
        hint = addresses.hint((*path, "host"), host)
        summary = f"invalid value for host: {host!r}"
        yield document.diagnostic((*path, "host"), summary, expected="an IP address or a host name", hint=hint)
    if adapter == "memcached":
        for key in ("name", "options"):
            if key in entry:
                yield _unsupported(document, path, adapter, key)
    elif adapter == "redis":
        if name is not None and not str(name).isdigit():
            yield document.diagnostic(
                (*path, "name"),
                f"invalid value for name: {str(name)!r}",
                expected="the number of a Redis database, such as 0",
            )
    elif "host" in entry and "name" not in entry:
        yield document.diagnostic(
            path, f"missing key 'name' in {'/'.join(map(str, path))}", key=True, expected="the name of the database"
        )


def _ports(host: str) -> str:
    """What to write for a list of servers of which some have a port; "" if none has."""
    servers = [one.rpartition(":") if one.count(":") == 1 else (one, "", "") for one in host.split(",")]
    ports = {port or str(PORTS["memcached"]) for _, _, port in servers}
    if not any(colon for _, colon, _ in servers):
        return ""
    if len(ports) == 1:
        return f'write host: "{",".join(name for name, _, _ in servers)}", port: {ports.pop()}'
    whole = ",".join(f"{name}:{port or PORTS['memcached']}" for name, _, port in servers)
    return f'for servers with other ports, in place of cache, env: {{MEMCACHE_SERVERS: "{whole}"}}'


def _is_redis_name(url: str) -> bool:
    """Whether the path of a URL of Redis is a number, or none; a path of unix:// is that of a socket."""
    parts = parse(url)
    return parts is None or parts.scheme == "unix" or parts.path.isdigit() or not parts.path


def _unsupported(document: Document, path: Path, adapter: str, key: str) -> Diagnostic:
    return document.diagnostic((*path, key), f"{adapter} does not support {key}", key=True, hint=f"remove {key}")


def _sqlite(document: Document, path: Path, entry: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """A SQLite database is a file in a volume: everything else in a dyno is read-only, or lost when it stops."""
    for key in ("url", *_PARTS):
        if key in entry:
            hint = f"use path: {_FILE.rpartition(' ')[2]} in place of {key}"
            summary = f"sqlite does not support {key}"
            yield document.diagnostic(
                (*path, key), summary, key=True, hint=f"remove {key}" if "path" in entry else hint
            )
            if "path" not in entry:
                return
    file, data = entry.get("path"), document.data
    if "path" not in entry:
        yield document.diagnostic(
            path, f"missing key 'path' in {'/'.join(map(str, path))}", key=True, expected=f"path: {_FILE}"
        )
    if not isinstance(file, str) or file.startswith(("/", ".")) or not isinstance(data, dict):
        return  # the schema reports it
    volumes = data.get("volumes")
    entries = [entry for entry in (volumes if isinstance(volumes, list) else ()) if isinstance(entry, dict)]
    places = [at.strip("/") for entry in entries if isinstance(at := entry.get("path"), str)]
    if any(file.startswith(f"{place}/") for place in places):
        return
    below = f"a file below {', '.join(places)}" if places else _FILE
    hint = "" if places else "add volumes: [{name: storage, path: storage}]"
    if hint and not file.startswith("storage/"):  # a volume hides what the app has beside the file, such as migrations
        hint = f"use path: storage/{file.rpartition('/')[2]}, and {hint}"
    yield document.diagnostic((*path, "path"), f"path {file} is not in a volume", expected=below, hint=hint)
