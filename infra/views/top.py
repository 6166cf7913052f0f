"""The fleet at a glance: servers with their load and free places, dynos with what they use of what they may."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from infra import marks
from infra.processes import Row
from infra.views.dynos import span
from infra.views.formation import memory
from infra.views.style import printable
from infra.watch import Seen

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

CELLS = 8
"""The width of a bar."""


def screen(app: str, seen: Sequence[Seen], now: datetime, height: int, *, bars: bool = True) -> RenderableType:
    """What a terminal of ``height`` lines shows; dynos that find no line are counted."""
    from rich.console import Group
    from rich.text import Text

    rows = _rows(seen)
    up = sum(row.state == "up" and not one.away for one, row in rows)
    head = Text.assemble((app, "bold"), f"  {up} of {len(rows)} dynos up  {now:%H:%M:%S}  ", ("q quits", "dim"))
    room = height - len(seen) - 6
    shown = rows if len(rows) <= room else rows[: max(1, room - 1)]
    more = [] if len(shown) == len(rows) else [Text(f"and {len(rows) - len(shown)} more", "dim")]
    return Group(head, Text(), _servers(seen), Text(), _dynos(shown, bars=bars), *more)


def plain(app: str, seen: Sequence[Seen], now: datetime, console: Console) -> str:
    """The same as text, once, with all dynos."""
    with console.capture() as captured:
        console.print(screen(app, seen, now, 10**9, bars=False))
    lines = captured.get().replace("  q quits", "").splitlines()
    return "\n".join(line.rstrip() for line in lines)


def document(seen: Sequence[Seen]) -> dict[str, object]:
    """The same as JSON, format version 1. Memory is in bytes, ``cpu`` and ``share`` in cores."""
    return {
        "format_version": 1,
        "servers": [
            {
                "server": one.server,
                "load": None if one.vitals is None else one.vitals.load,
                "cores": None if one.vitals is None else one.vitals.cores,
                "memory": None if one.vitals is None else one.vitals.memory,
                "memory_available": None if one.vitals is None else one.vitals.available,
                "free_dynos": None if one.vitals is None else one.vitals.places,
                "away": one.away or None,
            }
            for one in seen
        ],
        "dynos": [
            {
                "dyno": row.dyno,
                "server": row.server,
                "state": row.state,
                "cpu": (one.cpu or {}).get(row.dyno),
                "share": row.share / 1000,
                "memory": row.memory,
                "memory_max": row.memory_max,
                "waiting": row.waiting,
                "restarts": row.restarts,
                "release": row.release,
                "uptime": row.uptime,
            }
            for one, row in _rows(seen)
        ],
    }


def _rows(seen: Sequence[Seen]) -> list[tuple[Seen, Row]]:
    rows = [(one, row) for one in seen for row in one.rows]
    return sorted(rows, key=lambda pair: (marks.dyno_order(pair[1].dyno), pair[1].server))


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, no_wrap=True, justify="right" if name in right else "left")
    return table


def _servers(seen: Sequence[Seen]) -> Table:
    from rich.text import Text

    table = _table("SERVER", "LOAD", "CORES", "MEMORY", "DYNOS", "FREE", "", right=("CORES", "DYNOS", "FREE"))
    for one in seen:
        now = one.vitals
        why = Text(f"away: {printable(one.away.removeprefix(f'{one.server}: '))}", "red") if one.away else Text()
        if now is None:
            table.add_row(one.server, "-", "-", "-", "-", "-", why or Text("asked", "dim"))
            continue
        style = "dim" if one.away else ""
        load = Text(" ".join(f"{part:.2f}" for part in now.load), _heat(now.load[0] / max(1, now.cores)))
        taken = now.memory - now.available
        memory_ = Text(f"{_size(taken)} of {_size(now.memory)}", _heat(taken / max(1, now.memory)))
        free = Text(str(now.places), "" if now.places else "yellow")
        cells = (load, Text(str(now.cores)), memory_, Text(str(len(one.rows))), free, why)
        table.add_row(one.server, *cells, style=style)
    return table


def _dynos(rows: Sequence[tuple[Seen, Row]], *, bars: bool) -> Table:
    from rich.text import Text

    right = ("WAITING", "RESTARTS")
    table = _table("DYNO", "SERVER", "STATE", "CPU", "MEMORY", "WAITING", "RESTARTS", "RELEASE", "UP", right=right)
    for one, row in rows:
        state = Text("away", "red") if one.away else Text(row.state, "green" if row.state == "up" else "red")
        cpu = (one.cpu or {}).get(row.dyno)
        part = None if row.memory is None or not row.memory_max else row.memory / row.memory_max
        table.add_row(
            row.dyno,
            row.server,
            state,
            _cpu(cpu, row.share / 1000, bars=bars),
            Text(memory(row), "" if part is None else _heat(part)),
            "-" if row.waiting is None else Text(str(row.waiting), "yellow" if row.waiting else ""),
            Text(str(row.restarts), "yellow" if row.restarts else ""),
            f"v{row.release}" if row.release else "-",
            "-" if row.uptime is None else span(row.uptime),
            style="dim" if one.away else "",
        )
    return table


def _cpu(used: float | None, share: float, *, bars: bool) -> Text:
    from rich.text import Text

    if used is None:
        return Text(f"{'':{CELLS + 1 if bars else 0}}  - of {share:.0%}", "dim")
    part = used / share if share else 0.0
    full = min(CELLS, round(part * CELLS))
    bar = f"{'█' * full}{'░' * (CELLS - full)} " if bars else ""
    return Text(f"{bar}{used:3.0%} of {share:.0%}", _heat(part))


def _heat(part: float) -> str:
    return "red" if part >= 0.9 else "yellow" if part >= 0.7 else ""


def _size(number: int) -> str:
    return f"{number / 2**30:.1f}G" if number >= 2**30 else f"{number / 2**20:.0f}M"
