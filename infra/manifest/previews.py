"""The manifest of a preview, derived from that of the app and its overlay ``dyno.preview.yaml``: the same app under
another name, with one web dyno, and with nothing of production that it could change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.errors import Diagnostic
from infra.manifest.document import Document
from infra.manifest.nodes import Unusable

OVERLAY = "preview"
"""The destination whose overlay all previews share."""

IDLE = 1800
"""Seconds without a request after which a preview is idle, if the manifest does not say it."""

PLACEHOLDER = "{preview}"
"""What stands for the name of the preview in the settings of its databases and caches; dashes become underscores."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_STORES = ("database", "databases", "cache", "caches", "credentials")
_UNASKED = ("schedule", "checks")


def destination(name: str) -> str:
    """The destination of a preview, as for ``-d`` and in records."""
    return f"{OVERLAY}:{name}"


def split(wanted: str | None) -> tuple[str | None, str]:
    """The overlay of a destination, and the name of the preview, or ""."""
    overlay, colon, name = (wanted or "").partition(":")
    if overlay != OVERLAY or not colon:
        return wanted, ""
    if not _NAME.fullmatch(name):
        problem = Diagnostic(
            f"invalid name of a preview: {name!r}", expected="lowercase letters, digits and dashes, such as pr-12"
        )
        raise Unusable(problem)
    return overlay, name


def derive(document: Document, name: str) -> Iterator[Diagnostic]:
    """Change the data of a document to that of a preview, in place; every error. The schema must have passed, and the
    settings of servers must be expanded."""
    data: Any = document.data
    own: Any = getattr(document, "parts", [document])[-1].data
    app, overlay, settings = data["app"]["name"], f"dyno.{OVERLAY}.yaml", data.get("preview") or {}
    if "host" not in settings:
        yield Diagnostic(
            "missing key 'preview' with host", hint=f"add to {overlay}: preview: {{host: preview.example.org}}"
        )
        return
    shared: list[tuple[str, ...]] = [(key,) for key in _STORES if data.get(key) and key not in own]
    env = data.get("env") or {}
    shared += [
        ("env", key) for key, value in env.items() if isinstance(value, dict) and key not in (own.get("env") or {})
    ]
    for path in shared:
        what = ".".join(path)
        hint = f"set {what} in {overlay}, or {what}: null to leave it out"
        yield document.diagnostic(path, f"a preview cannot use {what} of {app}", key=True, hint=hint)
    if shared:
        return
    data["app"] = {**data["app"], "name": f"{app}-{name}"}
    data["dynos"] = _dynos(data["dynos"], own.get("dynos") or {})
    for key in _UNASKED:
        if key not in own:
            data.pop(key, None)
    for key in _STORES:
        if key in data:  # not merged: a password of production must not come with the name of another database
            data[key] = _named(own[key], name.replace("-", "_"))
    router = data.get("router")
    if isinstance(router, dict):
        data["router"] = {**router, "hosts": [f"{name}.{settings['host']}"]}
    labels = settings.get("labels") or {}
    data["servers"] = list(_servers(data["servers"], labels, (router or {}).get("servers") or []))
    if not any(server.get("dynos", True) for server in data["servers"]):
        yield document.diagnostic(("preview", "labels"), "no server has these labels", expected="labels of a server")


def _dynos(types: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """One web dyno that may idle, and of other types what the overlay asks for."""
    kept = {type_: value for type_, value in types.items() if type_ in own}
    web = types.get("web", 1)
    settings = web if isinstance(web, dict) else {"count": web}
    count = settings.get("count", 1) if "web" in own else 1
    return {**kept, "web": {"idle": IDLE, **settings, "count": count}}


def _named(value: Any, name: str) -> Any:
    """A value, with the name of the preview in place of the placeholder."""
    if isinstance(value, dict):
        return {key: _named(item, name) for key, item in value.items()}
    return value.replace(PLACEHOLDER, name) if isinstance(value, str) else value


def _servers(servers: Any, labels: Mapping[str, str], routers: Any) -> Iterator[dict[str, Any]]:
    """The servers with some labels, and those of the router, without dynos."""
    for server in servers:
        if labels.items() <= (server.get("labels") or {}).items():
            yield server
        elif server["name"] in routers:
            yield {**server, "dynos": False}
