"""The manifest of a preview, derived from that of the app and its overlay ``dyno.preview.yaml``: the same app under
another name, with one web dyno, and with nothing of production that it could change."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from infra.errors import Diagnostic
from infra.manifest.document import Document
from infra.manifest.nodes import Unusable
from infra.manifest.urls import has_password

OVERLAY = "preview"
"""The destination whose overlay all previews share."""

IDLE = 1800
"""Seconds without a request after which a preview is idle, if the manifest does not say it."""

PLACEHOLDER = "{preview}"
"""What stands for the name of the preview in the settings of its databases and caches; dashes become underscores."""

PRODUCTION = "production"
"""A name that no preview can have: its database would be that of production, if that has the name shop_production."""

ALL = "*"
"""In place of the name of a server: all of them."""

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
    if not is_name(name):
        problem = Diagnostic(
            f"invalid name of a preview: {name!r}", expected="lowercase letters, digits and dashes, such as pr-12"
        )
        raise Unusable(problem)
    return overlay, name


def is_name(text: str) -> bool:
    """Whether a text can be the name of a preview."""
    return _NAME.fullmatch(text) is not None


def derive(document: Document, name: str, *, taken: bool = False, also: Collection[str] = ()) -> Iterator[Diagnostic]:
    """Change the data of a document to that of a preview, in place; every error. The schema must have passed, and the
    settings of servers must be expanded. ``taken``: there is a destination with that name. ``also`` are servers that
    it has without dynos, or ``ALL``: one that lost its labels may still run the preview."""
    data: Any = document.data
    own: Any = getattr(document, "parts", [document])[-1].data
    app, overlay, settings = data["app"]["name"], f"dyno.{OVERLAY}.yaml", data.get("preview") or {}
    if "host" not in settings:
        yield Diagnostic(
            "missing key 'preview' with host", hint=f"add to {overlay}: preview: {{host: preview.example.org}}"
        )
        return
    if taken or name == PRODUCTION:
        yield Diagnostic(
            f"a preview cannot have the name {name}",
            hint=f"it would share {PLACEHOLDER} with the destination of that name; choose another one, such as pr-12",
        )
        return
    shared: list[tuple[str, ...]] = [(key,) for key in _STORES if data.get(key) and key not in own]
    env = data.get("env") or {}
    shared += [("env", key) for key, value in env.items() if _is_private(value) and key not in (own.get("env") or {})]
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
    if "volumes" in data and "volumes" not in own:
        types = {*data["dynos"], *(entry["name"] for entry in data.get("schedule") or ())}
        data["volumes"] = list(_volumes(data["volumes"], types))
    for key in _STORES:
        if data.get(key):  # not merged: a password of production must not come with the name of another database
            data[key] = _named(own[key], name.replace("-", "_"))
    router = data.get("router")
    if isinstance(router, dict):
        data["router"] = {**router, "hosts": [f"{name}.{settings['host']}"]}
    labels = settings.get("labels") or {}
    others = [*((router or {}).get("servers") or []), data.get("builder"), *also]
    # If none has the labels any more, nothing can run, but what runs can still be found and removed.
    alone = also and not any(_has(server, labels) for server in data["servers"])
    data["servers"] = list(_servers(data["servers"], {} if alone else labels, others))
    if not also and not any(server.get("dynos", True) for server in data["servers"]):
        yield document.diagnostic(("preview", "labels"), "no server has these labels", expected="labels of a server")


def _dynos(types: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """One web dyno that may idle, and of other types what the overlay asks for."""
    kept = {type_: value for type_, value in types.items() if type_ in own}
    web = types.get("web", 1)
    settings = web if isinstance(web, dict) else {"count": web}
    count = settings.get("count", 1) if "web" in own else 1
    return {**kept, "web": {"idle": IDLE, **settings, "count": count}}


def _is_private(value: Any) -> bool:
    """Whether a variable has a reference, a URL with a password, or that of a database, a queue or a bucket."""
    if isinstance(value, dict):
        return True
    scheme, slashes, _ = str(value).partition("://")
    return bool(slashes) and (scheme.lower() not in ("http", "https") or has_password(str(value)))


def _volumes(volumes: Any, types: Collection[str]) -> Iterator[dict[str, Any]]:
    """The volumes of the process types that a preview has."""
    for volume in volumes:
        asked = volume.get("types") or []
        if kept := [type_ for type_ in asked if type_ in types]:
            yield {**volume, "types": kept}
        elif not asked:
            yield volume


def _named(value: Any, name: str) -> Any:
    """A value, with the name of the preview in place of the placeholder, and without what is null."""
    if isinstance(value, dict):
        return {key: _named(item, name) for key, item in value.items() if item is not None}
    return value.replace(PLACEHOLDER, name) if isinstance(value, str) else value


def _has(server: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return labels.items() <= (server.get("labels") or {}).items()


def _servers(servers: Any, labels: Mapping[str, str], others: Collection[Any]) -> Iterator[dict[str, Any]]:
    """The servers with some labels, and those of the router and the builder, without dynos."""
    for server in servers:
        if _has(server, labels):
            yield server
        elif ALL in others or server["name"] in others:
            yield {**server, "dynos": False}
