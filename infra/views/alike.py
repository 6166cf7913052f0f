"""Dynos that are alike, on one line: their names as ranges, with their servers, release and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.model.dyno_status import SERVING, UNKNOWN, WELL, Row
from infra.model.ranges import shortened
from infra.model.text import quantity
from infra.views.style import Style, one_line

MANY = 40
"""Dynos that have a line each; of more, those that are alike share one."""

FEW = 8
"""Dynos that are not well and have a line each, although they are alike."""


def groups(rows: Sequence[Row], notes: Mapping[tuple[str, str], str]) -> list[list[Row]]:
    """The dynos in the same state, of the same release and with the same note, in the order of the first of each. A
    schedule and, if they are ``FEW``, dynos that are not well are alone."""
    found: dict[object, list[Row]] = {}
    for row in rows:
        key = (row.state, row.release, notes.get((row.dyno, row.server), ""))
        alone = row.job is not None
        found.setdefault((row.dyno, row.server) if alone else key, []).append(row)
    apart: list[list[Row]] = []
    for same in found.values():
        well = same[0].state in WELL and not notes.get((same[0].dyno, same[0].server))
        apart += [same] if well or len(same) > FEW else [[row] for row in same]
    return apart


def text(rows: Sequence[Row], note: str, style: Style) -> str:
    """Such as ``web.[1-3997]: up  on 1000 servers: grid-[1-1000]  v7  38 to 61 MiB  2 restarts``."""
    first = rows[0]
    color = "yellow" if first.state == UNKNOWN else "green" if first.state in SERVING else "red"
    servers = dict.fromkeys(row.server for row in rows)
    parts = [
        f"{shortened([row.dyno for row in rows], 'dyno')}: {style(color, one_line(first.state))}",
        f"on {quantity(len(servers), 'server')}: {one_line(shortened(servers, 'server'))}",
    ]
    if first.release:
        parts.append(f"v{first.release}")
    used = sorted(row.memory / 2**20 for row in rows if row.memory is not None)
    if used:
        low, high = f"{used[0]:.0f}", f"{used[-1]:.0f}"
        parts.append(f"{low} MiB" if low == high else f"{low} to {high} MiB")
    if first.state != UNKNOWN:
        parts.append(quantity(sum(row.restarts for row in rows), "restart"))
    return "  ".join([*parts, *([style("bold", note)] if note else [])])
