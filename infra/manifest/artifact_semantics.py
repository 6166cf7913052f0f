"""Checks of artifacts that a schema cannot express: one way to the servers, a safe URL, one way to log in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from infra.errors import Diagnostic
from infra.manifest.document import Document, Path
from infra.manifest.host_names import is_loopback
from infra.manifest.urls import has_password

_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*")

_EXAMPLE = "https://slugs.example.org/dyno"


def check(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Every error in ``artifacts``."""
    artifacts = data.get("artifacts")
    if not isinstance(artifacts, dict):
        return
    ways = [way for way in artifacts if way in ("ssh", "http", "oci")]
    for way in ways[1:]:
        yield document.diagnostic(
            ("artifacts", way),
            f"{ways[0]} and {way} cannot be combined",
            key=True,
            hint=f"remove {ways[0]} or {way}; in an overlay: {ways[0]}: null",
        )
    ssh = artifacts.get("ssh")
    stored = "http" in artifacts or "oci" in artifacts
    relayed = isinstance(ssh, dict) and ssh.get("relay") is True
    for key, fits, expected in (
        ("bandwidth", stored or relayed, "http, oci, or ssh with relay: true"),
        ("fallback", stored, "http or oci"),
    ):
        if key in artifacts and not fits:
            yield document.diagnostic(
                ("artifacts", key), f"{key} requires servers that pull", key=True, expected=expected
            )
    for way in ("http", "oci"):
        entry = artifacts.get(way)
        if isinstance(entry, dict):
            yield from _login(document, ("artifacts", way), entry)
            if isinstance(entry.get("read"), dict):
                yield from _login(document, ("artifacts", way, "read"), entry["read"])
    if isinstance(artifacts.get("http"), dict):
        yield from _http(document, artifacts["http"])
    repository = artifacts["oci"].get("repository") if isinstance(artifacts.get("oci"), dict) else None
    if isinstance(repository, str) and repository and _host(f"//{repository}") is None:
        yield document.diagnostic(
            ("artifacts", "oci", "repository"),
            "invalid registry in repository",
            expected="a registry and a repository, such as registry.example.org/team/shop",
        )


def _login(document: Document, path: Path, entry: Mapping[str, Any]) -> Iterator[Diagnostic]:
    given = [key for key in ("user", "password") if key in entry]
    if "token" in entry and given:
        yield document.diagnostic(
            (*path, given[0]),
            f"token and {given[0]} cannot be combined",
            key=True,
            hint=f"remove token, or {' and '.join(given)}",
        )
    elif len(given) == 1:
        missing = "password" if given == ["user"] else "user"
        yield document.diagnostic(
            (*path, given[0]),
            f"missing key {missing!r} in {'/'.join(map(str, path))}",
            key=True,
            expected="user and password",
        )


def _http(document: Document, entry: Mapping[str, Any]) -> Iterator[Diagnostic]:
    path = ("artifacts", "http")
    if "presign" in entry:
        for key in ("url", "token", "user", "password", "read"):
            if key in entry:
                yield document.diagnostic(
                    (*path, key), f"presign and {key} cannot be combined", key=True, hint=f"remove presign or {key}"
                )
        return
    url = entry.get("url")
    if url is None:
        yield document.diagnostic(
            path, "missing key 'url' or 'presign' in artifacts/http", key=True, expected=f"url: {_EXAMPLE}"
        )
    if not isinstance(url, str) or not url:
        return
    at = (*path, "url")
    if "@" in url.partition("://")[2].partition("/")[0] or has_password(url):
        yield document.diagnostic(
            at, "url contains credentials", expected=_EXAMPLE, hint="use token, or user and password"
        )
    elif "?" in url or "#" in url:
        yield document.diagnostic(
            at, "url has a query or a fragment", expected=_EXAMPLE, hint="for presigned URLs, use presign"
        )
    elif not _URL.fullmatch(url) or (host := _host(url)) is None:
        yield document.diagnostic(at, "invalid value for url", expected=_EXAMPLE)
    elif url.startswith("http:") and not is_loopback(host) and entry.get("insecure") is not True:
        yield document.diagnostic(
            at,
            "plain HTTP shows credentials and slugs to everybody on the network",
            expected="a URL with https",
            hint="if the network is yours alone: insecure: true",
        )


def _host(url: str) -> str | None:
    """The host of a URL, if it has one, and a valid port if any."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or None) if parts.port != 0 else None
    except ValueError:
        return None
