"""Checks of a rollout that a schema cannot express: the labels of its waves, headers that have keys of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.errors import Diagnostic
from infra.manifest.document import Document

_OWN = {"host": "use rollout.health.host", "x-forwarded-proto": "use rollout.health.scheme"}
_BODY = ("content-length", "transfer-encoding")
"""Headers that announce a body. The request has none, so the app would wait for it."""


def check(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Every server without the label of the waves, and every header that the health check cannot send."""
    rollout: Any = data.get("rollout")
    yield from _waves(document, data, rollout if isinstance(rollout, dict) else {})
    found: Any = data
    for key in ("rollout", "health", "headers"):
        found = found.get(key) if isinstance(found, dict) else None
    seen: dict[str, str] = {}
    for name in found if isinstance(found, dict) else ():
        lower = str(name).lower()
        hint = _OWN.get(lower, "remove it: the request has no body" if lower in _BODY else "")
        if lower in seen:
            hint = f"remove it: {seen[lower]} is the same header"
        seen.setdefault(lower, str(name))
        if hint:
            yield document.diagnostic(
                ("rollout", "health", "headers", name), f"invalid header {name}", key=True, hint=hint
            )


def _waves(document: Document, data: Mapping[str, Any], rollout: Mapping[str, Any]) -> Iterator[Diagnostic]:
    by, servers = rollout.get("by"), data.get("servers")
    if "pause" in rollout and by is None:
        hint = "add by: LABEL; for a wait after each batch: rollout.min_healthy_time"
        yield document.diagnostic(("rollout", "pause"), "rollout.pause requires rollout.by", key=True, hint=hint)
    for index, server in enumerate(servers if isinstance(by, str) and isinstance(servers, list) else ()):
        labels = server.get("labels") if isinstance(server, dict) else None
        if isinstance(server, dict) and by not in (labels if isinstance(labels, dict) else {}):
            yield document.diagnostic(
                ("servers", index),
                f"missing label {by}, which rollout.by requires",
                expected=f"labels: {{{by}: ...}}",
            )
