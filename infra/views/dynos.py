"""Parts of the list of dynos that several views share, and the list as JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from infra.model import routing
from infra.model.dyno_status import Row


def router_lines(down: Mapping[str, str]) -> list[str]:
    """A line for each router through which nothing reaches the dynos, with its state."""
    return [f"The router on {server} {_STATES[state]}. To repair it: dynoctl apply" for server, state in down.items()]


_STATES = {
    "stopped": "is stopped",
    "failed": "has failed",
    "starting": "is starting",
    "not listening": "is not listening",
    routing.WITHOUT_ROUTE: "has no route to this app",
}


def document(rows: Sequence[Row], unreachable: Mapping[str, str]) -> dict[str, object]:
    """The dynos as JSON, format version 1. ``uptime`` is in seconds, ``memory`` in bytes."""
    return {"format_version": 1, "dynos": [asdict(row) for row in rows], "unreachable": dict(unreachable)}


def span(seconds: int) -> str:
    """A number of seconds in its two largest units, such as ``3d 4h``."""
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    parts: list[str] = []
    for name, size in units:
        count, seconds = divmod(seconds, size)
        if count or (name == "s" and not parts):
            parts.append(f"{count}{name}")
    return " ".join(parts[:2])
