"""What a schema cannot say of databases and caches: a URL or its parts, and what fits the adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.errors import Diagnostic
from infra.manifest.document import Document, Path
from infra.manifest.urls import check_url

_PARTS = ("host", "port", "name", "user", "password", "options")


def check(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Every problem of the first database and cache, and of those that have names."""
    for kind in ("database", "cache"):
        if isinstance(data.get(kind), dict):
            yield from _one(document, (kind,), data[kind])
        several = data.get(f"{kind}s")
        for name, entry in several.items() if isinstance(several, dict) else ():
            if isinstance(entry, dict):
                yield from _one(document, (f"{kind}s", name), entry)


def _one(document: Document, path: Path, entry: Mapping[str, Any]) -> Iterator[Diagnostic]:
    adapter, url = entry.get("adapter"), entry.get("url")
    if not isinstance(adapter, str):
        return
    parts = [key for key in _PARTS if key in entry]
    if "url" in entry:
        for key in parts:
            yield document.diagnostic(
                (*path, key), f"{key} and url exclude each other", key=True, hint="Keep the one that is meant."
            )
        if isinstance(url, str) and (problem := check_url(url, adapter)) is not None:
            yield document.diagnostic((*path, "url"), problem.summary, expected=problem.expected)
        return
    where = "/".join(map(str, path))
    if "host" not in entry:
        yield document.diagnostic(
            path, f"{where} has neither url nor host", key=True, expected="url: ..., or host: with name, user, password"
        )
    yield from _fits(document, path, entry, adapter)


def _fits(document: Document, path: Path, entry: Mapping[str, Any], adapter: str) -> Iterator[Diagnostic]:
    host, name = entry.get("host"), entry.get("name")
    if adapter != "memcached" and isinstance(host, str) and "," in host:
        yield document.diagnostic((*path, "host"), f"{adapter} has one host", expected="an address or a host name")
    if adapter == "memcached":
        for key in ("name", "options"):
            if key in entry:
                yield document.diagnostic((*path, key), f"memcached has no {key}", key=True)
    elif adapter == "redis":
        if name is not None and not str(name).isdigit():
            yield document.diagnostic((*path, "name"), "a database of Redis is a number", expected="0 to 15")
    elif "host" in entry and "name" not in entry:
        yield document.diagnostic(path, "the database has no name", key=True, expected="name: the database's name")
