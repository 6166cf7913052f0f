"""The view of ``dynoctl top``: servers with load and free capacity, dynos with what they use of their limits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from infra.model import lock_holder, naming, routing
from infra.model.dyno_status import SERVING, WELL, Row
from infra.model.lock_holder import Holder
from infra.ops.monitor import Sample
from infra.views import under_way
from infra.views.dynos import span
from infra.views.formation import memory
from infra.views.style import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

T = TypeVar("T")

WIDE = 108
"""The width in columns from which everything is shown."""

CELLS = 8
"""The width of a bar in columns."""


def screen(app: str, samples: Sequence[Sample], now: datetime, width: int, height: int) -> RenderableType:
    """The view for a terminal of this size. Servers and dynos that do not fit are counted."""
    from rich.console import Group
    from rich.text import Text

    rows = _rows(samples)
    head = Text.assemble((app, "bold"), f"  {_up(rows)} dynos up  {now:%H:%M:%S}  ", ("q quits", "dim"))
    above = [Text(words, "yellow") for words in under_way.sentences(_applying(samples))]
    room = height - 5 - len(above)  # minus the heading, two headers and two empty lines
    servers = sorted(samples, key=_works) if len(samples) > room // 2 else list(samples)
    servers, others = _clipped(servers, max(room // 2, room - len(rows)))
    shown, more = _clipped(rows, room - len(servers) - len(others))
    wide = width >= WIDE
    return Group(*above, head, Text(), _servers(servers), *others, Text(), _dynos(shown, wide=wide, bars=wide), *more)


def _works(sample: Sample) -> bool:
    """Whether a server is reachable, and its router works if it has one."""
    return not sample.unreachable and sample.router in ("", "running")


def _up(rows: Sequence[tuple[Sample, Row]]) -> str:
    """How many of the dynos are up, not counting schedules."""
    always = [(sample, row) for sample, row in rows if row.job is None]
    return f"{sum(row.state in SERVING and not sample.unreachable for sample, row in always)} of {len(always)}"


def _clipped(items: list[T], room: int) -> tuple[list[T], list[Text]]:
    """The items that fit, and a line with the number of the others."""
    from rich.text import Text

    if len(items) <= room:
        return items, []
    kept = max(1, room - 1)
    return items[:kept], [Text(f"and {len(items) - kept} more", "dim")]


def plain(app: str, samples: Sequence[Sample], now: datetime, console: Console) -> str:
    """The view as text, with all dynos."""
    with console.capture() as captured:
        rows = _rows(samples)
        for words in under_way.sentences(_applying(samples)):
            console.print(words, highlight=False, markup=False, style="yellow")
        console.print(f"{app}  {_up(rows)} dynos up  {now:%H:%M:%S}\n", highlight=False)
        console.print(_servers(samples), "", _dynos(rows, wide=True, bars=False), sep="\n")
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def document(samples: Sequence[Sample]) -> dict[str, object]:
    """The servers and dynos as JSON, format version 1. Memory is in bytes, ``cpu`` and ``share`` in cores."""
    return {
        "format_version": 1,
        "applying": under_way.document(_applying(samples)),
        "servers": [
            {
                "server": sample.server,
                "load": None if sample.vitals is None else sample.vitals.load,
                "cores": None if sample.vitals is None else sample.vitals.cores,
                "memory": None if sample.vitals is None else sample.vitals.memory,
                "memory_available": None if sample.vitals is None else sample.vitals.available,
                "free_dynos": None if sample.vitals is None else sample.vitals.places,
                "away": sample.unreachable or None,
                "router": sample.router or None,
            }
            for sample in samples
        ],
        "dynos": [
            {
                "dyno": row.dyno,
                "server": row.server,
                "state": row.state,
                "cpu": (sample.cpu or {}).get(row.dyno),
                "share": row.share / 1000,
                "memory": row.memory,
                "memory_max": row.memory_max,
                "waiting": row.waiting,
                "restarts": row.restarts,
                "release": row.release,
                "uptime": row.uptime,
            }
            for sample, row in _rows(samples)
        ],
    }


def _applying(samples: Sequence[Sample]) -> tuple[Holder, ...]:
    return lock_holder.holders(sample.holder for sample in samples if not sample.unreachable)


def _rows(samples: Sequence[Sample]) -> list[tuple[Sample, Row]]:
    rows = [(sample, row) for sample in samples for row in sample.rows]
    return sorted(rows, key=lambda pair: (naming.dyno_order(pair[1].dyno), pair[1].server))


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, no_wrap=True, justify="right" if name in right else "left")
    return table


def _servers(samples: Sequence[Sample]) -> Table:
    from rich.text import Text

    table = _table("SERVER", "LOAD", "CORES", "MEMORY", "DYNOS", "FREE", "", right=("CORES", "DYNOS", "FREE"))
    for sample in samples:
        now = sample.vitals
        why = Text()
        if sample.unreachable:
            why = Text(f"unreachable: {printable(sample.unreachable.removeprefix(f'{sample.server}: '))}", "red")
        elif sample.router in (*routing.DOWN, routing.WITHOUT_ROUTE):
            why = Text(f"router {sample.router}", "red")
        if now is None:
            table.add_row(sample.server, "-", "-", "-", "-", "-", why or Text("connecting", "dim"))
            continue
        style = "dim" if sample.unreachable else ""
        load = Text(" ".join(f"{part:.2f}" for part in now.load), _heat(now.load[0] / max(1, now.cores)))
        taken = now.memory - now.available
        memory_ = Text(_memory(taken, now.memory), _heat(taken / max(1, now.memory)))
        free = Text(str(now.places), "" if now.places else "yellow")
        cells = (load, Text(str(now.cores)), memory_, Text(str(len(sample.rows))), free, why)
        table.add_row(sample.server, *cells, style=style)
    return table


def _dynos(rows: Sequence[tuple[Sample, Row]], *, wide: bool, bars: bool) -> Table:
    from rich.text import Text

    columns = ["DYNO", "SERVER", "STATE", "CPU", "MEMORY", "WAITING", "RESTARTS", "RELEASE", "UP"]
    names = columns if wide else [*columns[:5], "WAIT", *columns[6:8]]
    table = _table(*names, right=("WAITING", "WAIT", "RESTARTS"))
    # On a narrow terminal these two columns keep their width.
    table.columns[0].min_width = max((len(row.dyno) for _, row in rows), default=4)
    table.columns[1].min_width = max((len(row.server) for _, row in rows), default=6)
    for sample, row in rows:
        state = (
            Text("unreachable", "red")
            if sample.unreachable
            else Text(row.state, "green" if row.state in WELL else "red")
        )
        cpu = (sample.cpu or {}).get(row.dyno)
        part = None if row.memory is None or not row.memory_max else row.memory / row.memory_max
        cells = [
            Text(row.dyno),
            Text(row.server),
            state,
            _cpu(cpu, row.share / 1000, bars=bars),
            Text(memory(row), "" if part is None else _heat(part)),
            Text("-") if row.waiting is None else Text(str(row.waiting), "yellow" if row.waiting else ""),
            Text(str(row.restarts), "yellow" if row.restarts else ""),
            Text(f"v{row.release}" if row.release else "-"),
            Text("-" if row.uptime is None else span(row.uptime)),
        ]
        table.add_row(*cells[: len(names)], style="dim" if sample.unreachable else "")
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


def _memory(used: int, total: int) -> str:
    if total >= 2**30:
        return f"{used / 2**30:.1f} of {total / 2**30:.1f} GiB"
    return f"{used / 2**20:.0f} of {total / 2**20:.0f} MiB"
