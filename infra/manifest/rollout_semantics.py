"""Checks of a rollout that a schema cannot express: a pause without waves, headers that have keys of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.errors import Diagnostic
from infra.manifest.document import Document

_OWN = {"host": "use rollout.health.host", "x-forwarded-proto": "use rollout.health.scheme"}
_BODY = ("content-length", "transfer-encoding")
"""Headers that announce a body. The request has none, so the app would wait for it."""


def check(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """A pause without waves, and every header that the health check cannot send."""
    rollout = data.get("rollout")
    if isinstance(rollout, dict) and "pause" in rollout and rollout.get("by") is None:
        yield document.diagnostic(
            ("rollout", "pause"),
            "rollout.pause requires rollout.by",
            key=True,
            hint="add by: LABEL; for a wait after each batch: rollout.min_healthy_time",
        )
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
