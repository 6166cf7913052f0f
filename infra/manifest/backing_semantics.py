"""Checks of databases and caches that a schema cannot express: URL or parts, and what the adapter supports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.errors import Diagnostic
from infra.manifest.document import Document, Path
from infra.manifest.urls import check_url

_PARTS = ("host", "port", "name", "user", "password", "options")


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
    if not isinstance(adapter, str):
        return
    parts = [key for key in _PARTS if key in entry]
    if "url" in entry:
        for key in parts:
            yield document.diagnostic(
                (*path, key), f"{key} and url cannot be combined", key=True, hint=f"remove {key} or url"
            )
        if isinstance(url, str) and (problem := check_url(url, adapter)) is not None:
            yield document.diagnostic((*path, "url"), problem.summary, expected=problem.expected, hint=problem.hint)
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
    if adapter == "memcached":
        for key in ("name", "options"):
            if key in entry:
                yield document.diagnostic(
                    (*path, key), f"memcached does not support {key}", key=True, hint=f"remove {key}"
                )
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
