"""The table of dynos at the end of an apply, and parts that ``ps`` and ``top`` share with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from infra.model import routing
from infra.model.dyno_status import WELL, Row
from infra.model.target import host_port
from infra.views.style import Style
from infra.views.table import line, padded

_HEAD = ("DYNO", "SERVER", "ADDRESS", "STATE", "SLUG", "PID", "UPTIME", "MEMORY", "RESTARTS")


def table(rows: Sequence[Row], style: Style) -> str:
    """A table with one line per dyno."""
    cells = [_HEAD, *(_cells(row) for row in rows)]
    lines = []
    for number, (row, text) in enumerate(zip(cells, padded(cells), strict=True)):
        if number == 0:
            text = [style("bold", cell) for cell in text]
        else:
            text[3] = style("green" if row[3] in WELL else "red", text[3])
        lines.append(line(text))
    return "\n".join(lines)


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


def _cells(row: Row) -> tuple[str, ...]:
    address = host_port(row.listen, row.port) if row.port else "-"
    return (
        row.dyno,
        row.server,
        address,
        row.state,
        row.slug[:12],
        "-" if row.pid is None else str(row.pid),
        "-" if row.uptime is None else span(row.uptime),
        "-" if row.memory is None else f"{row.memory / 2**20:.0f} MiB",
        str(row.restarts),
    )


def span(seconds: int) -> str:
    """A number of seconds in its two largest units, such as ``3d 4h``."""
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    parts: list[str] = []
    for name, size in units:
        count, seconds = divmod(seconds, size)
        if count or (name == "s" and not parts):
            parts.append(f"{count}{name}")
    return " ".join(parts[:2])
