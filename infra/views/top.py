"""The view of ``dynoctl top``: servers with load and free capacity, dynos with what they use of their limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from textwrap import wrap
from typing import TYPE_CHECKING, TypeVar

from infra.fleet.site import Site
from infra.manifest.model import Manifest
from infra.model import naming
from infra.model.dyno_status import UNKNOWN, WELL, Row
from infra.model.traffic import Rates
from infra.ops.monitor import Sample, site_of
from infra.views import site as sites
from infra.views import under_way
from infra.views.dynos import span
from infra.views.formation import memory
from infra.views.site import heat
from infra.views.style import printable
from infra.views.wrapping import wrapped

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

T = TypeVar("T")

WIDE = 100
"""The width in columns from which bars are drawn."""

CELLS = 8
"""The width of a bar in columns."""

GAP = 2
"""The columns between two columns of a table."""

Entry = tuple[Row, float | None, Rates | None]
"""A dyno, the share of a core that it uses, and its requests."""

SORTS: dict[str, Callable[[Entry], float | None]] = {
    "dyno": lambda entry: None,
    "cpu": lambda entry: entry[1],
    "memory": lambda entry: entry[0].memory,
    "requests": lambda entry: entry[2].per_second if entry[2] is not None else None,
    "p95": lambda entry: entry[2].p95 if entry[2] is not None else None,
}
"""By what dynos can be sorted, the largest first; those without a value come last, in their usual order."""

HELP = "sort: (n)ame (c)PU (m)emory (r)equests (p)95, arrows scroll, q quits"

_LEAST = ("UP", "RELEASE", "RESTARTS", "CORES", "WAITING", "LOAD")
"""The columns that a narrow terminal does without, the first of these first."""

_RIGHT = ("CORES", "DYNOS", "FREE", "REQ/S", "P95", "WAITING", "RESTARTS")

_MOST = {"ROUTER": 20}
"""The width of a column that may be cut."""

_MIN = {"STATE": 5, "MEMORY": 13, "REQ/S": 5, "P95": 7}
"""The least width of a column, so that columns do not move with each sample."""


def screen(
    manifest: Manifest, samples: Sequence[Sample], now: datetime, size: tuple[int, int], look: tuple[str, int]
) -> tuple[RenderableType, int]:
    """The view for a terminal of this size (columns, rows), and how far it is scrolled. Servers and dynos that do not
    fit are counted. ``look`` is the order of the dynos and how many of them are to be above the view."""
    from rich.console import Group
    from rich.text import Text

    width, height = size
    sort, offset = look
    site = site_of(manifest, samples)
    entries = _entries(site, samples, sort)
    verdict, color, numbers = sites.headline(manifest.app.name, site)
    head = Text.assemble((verdict, f"bold {color}".strip()), f": {numbers}")
    head.truncate(width)
    keys = Text(f"{now:%H:%M:%S}  {HELP}"[:width], "dim")
    above = [Text(words, "bold") for words in under_way.sentences(site.applying)]
    said = [Text(part, style) for style, words in sites.problems(site) for part in wrap(words, width)]
    said, others = _clipped(said, max(3, height // 4))
    above += [*said, *others]
    room = height - 5 - len(above)  # minus the heading, the help, two headers and an empty line
    servers = sorted(samples, key=lambda sample: not _ill(site, sample)) if len(samples) > room // 2 else list(samples)
    servers, others = _clipped(servers, max(room // 2, room - len(entries)))
    room -= len(servers) + len(others)
    kept = len(entries) if len(entries) <= room else max(1, room - 1)
    offset = max(0, min(offset, len(entries) - kept))
    shown, below = entries[offset : offset + kept], len(entries) - offset - kept
    hidden = [f"{offset} above"] * bool(offset) + [f"{'' if offset else 'and '}{below} more"] * bool(below)
    more = [Text(", ".join(hidden), "dim")] if hidden else []
    dynos = _dynos(shown, site, width, bars=width >= WIDE)
    tables: list[RenderableType] = [_servers(servers, site, width, manifest.per_core), *others, Text(), dynos]
    return Group(head, *above, keys, *tables, *more), offset


def _ill(site: Site, sample: Sample) -> bool:
    """Whether a server is unreachable, or its router does not work."""
    return bool(sample.unreachable) or sample.server in site.down


def _clipped(items: list[T], room: int) -> tuple[list[T], list[Text]]:
    """The items that fit, and a line with the number of the others."""
    from rich.text import Text

    if len(items) <= room:
        return items, []
    kept = max(1, room - 1)
    return items[:kept], [Text(f"and {len(items) - kept} more", "dim")]


def plain(
    manifest: Manifest,
    samples: Sequence[Sample],
    now: datetime,
    console: Console,
    sort: str = "dyno",
    *,
    width: int | None = None,
) -> str:
    """The view as text, with all dynos. ``width`` are the columns of the terminal to which sentences are wrapped; None:
    no limit."""
    from rich.text import Text

    site = site_of(manifest, samples)
    with console.capture() as captured:
        for words in under_way.sentences(site.applying):
            console.print(words, highlight=False, markup=False, style="bold")
        verdict, color, numbers = sites.headline(manifest.app.name, site)
        text = f"{verdict}: {numbers}"
        time = f"  {now:%H:%M:%S}"
        fits = width is None or len(text) + len(time) <= width
        head = Text(wrapped(text, width) + time * fits)
        head.stylize(color, 0, len(verdict))
        console.print(head, highlight=False, soft_wrap=True)
        for color, words in sites.problems(site):
            console.print(wrapped(f"  {words}", width), style=color, highlight=False, markup=False, soft_wrap=True)
        dynos = _dynos(_entries(site, samples, sort), site, console.width, bars=False)
        console.print("", _servers(samples, site, console.width, manifest.per_core), "", dynos, sep="\n")
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def document(manifest: Manifest, samples: Sequence[Sample], sort: str = "dyno") -> dict[str, object]:
    """The servers and dynos as JSON, format version 1. Memory is in bytes, ``cpu`` and ``share`` in cores."""
    site = site_of(manifest, samples)
    routers = {router.server: router.state for router in site.routers}
    servers = [
        {
            "server": sample.server,
            "load": None if sample.vitals is None else sample.vitals.load,
            "cores": None if sample.vitals is None else sample.vitals.cores,
            "memory": None if sample.vitals is None else sample.vitals.memory,
            "memory_available": None if sample.vitals is None else sample.vitals.available,
            "free_dynos": None if sample.vitals is None else sample.vitals.places(manifest.per_core),
            "away": sample.unreachable or None,
            "router": routers.get(sample.server),
        }
        for sample in samples
    ]
    dynos = [
        sites.dyno(site, row) | {"cpu": cpu, "share": row.share / 1000} for row, cpu, _ in _entries(site, samples, sort)
    ]
    return {"format_version": 1, "servers": servers, "dynos": dynos} | sites.document(site)


def _entries(site: Site, samples: Sequence[Sample], sort: str) -> list[Entry]:
    used = {(sample.server, dyno): cpu for sample in samples for dyno, cpu in (sample.cpu or {}).items()}
    entries = [(row, used.get((row.server, row.dyno)), site.rates.get(row.dyno)) for row in site.rows]

    def order(entry: Entry) -> tuple[float, tuple[str, int], str]:
        value = SORTS[sort](entry)
        return (1.0 if value is None else -value, naming.dyno_order(entry[0].dyno), entry[0].server)

    return sorted(entries, key=order)


def _fitted(rows: Sequence[Mapping[str, Text]], names: Sequence[str], width: int) -> Table:
    """A table of the columns that fit."""
    from rich.table import Table

    def wide(name: str) -> int:
        return (
            max(_MIN.get(name, 0), len(name), *(min(len(row[name]), _MOST.get(name, width)) for row in rows), 0) + GAP
        )

    kept = list(names)
    for name in _LEAST:
        if name in kept and sum(map(wide, kept)) - GAP > width:
            kept.remove(name)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for name in kept:
        least = None if name in _MOST else wide(name) - GAP
        table.add_column(name, no_wrap=True, justify="right" if name in _RIGHT else "left", min_width=least)
    for row in rows:
        table.add_row(*(row[name] for name in kept))
    return table


def _servers(samples: Sequence[Sample], site: Site, width: int, per_core: int) -> Table:
    from rich.text import Text

    names = ["SERVER", "LOAD", "CORES", "MEMORY", "DYNOS", "FREE", "ROUTER"]
    rows = []
    for sample in samples:
        now = sample.vitals
        row = {name: Text("-") for name in names} | {"SERVER": Text(sample.server), "ROUTER": _router(sample, site)}
        if now is not None:
            taken = now.memory - now.available
            row |= {
                "LOAD": Text(" ".join(f"{part:.2f}" for part in now.load), heat(now.load[0] / max(1, now.cores))),
                "CORES": Text(str(now.cores)),
                "MEMORY": Text(_memory(taken, now.memory), heat(taken / max(1, now.memory))),
                "DYNOS": Text(str(len(sample.status.rows))),
                "FREE": Text(str(free := now.places(per_core)), "" if free else "yellow"),
            }
        if sample.unreachable:
            row |= {name: Text(row[name].plain, "dim") for name in names[:-1]}
        rows.append(row)
    return _fitted(rows, names if any(row["ROUTER"] for row in rows) else names[:-1], width)


def _router(sample: Sample, site: Site) -> Text:
    """What is to be said of a server: that it does not answer, or how its router is."""
    from rich.text import Text

    router = next((router for router in site.routers if router.server == sample.server), None)
    if sample.unreachable:
        return Text(f"unreachable: {printable(sample.unreachable.removeprefix(f'{sample.server}: '))}", "red")
    if sample.vitals is None:
        return Text("connecting", "dim")
    if router is None or router.state not in WELL:
        return Text("" if router is None else router.state, "red")
    if router.closed:
        return Text("maintenance", "yellow")
    busy = router.rates is not None and router.rates.count
    return Text(f"up {sites.rate(router.rates)}/s, p95 {sites.p95(router.rates)}" if router.rates and busy else "up")


def _dynos(entries: Sequence[Entry], site: Site, width: int, *, bars: bool) -> Table:
    """The dynos, and the one-off dynos after them."""
    from rich.text import Text

    names = _columns(site)
    rows = [_cells(entry, site, bars=bars) for entry in entries]
    for server, one in site.one_offs:
        own = {"DYNO": Text(one.name), "SERVER": Text(server), "STATE": Text("one-off", "green")}
        rows.append({name: own.get(name, Text("-")) for name in names})
    return _fitted(rows, names, width)


def _columns(site: Site) -> list[str]:
    requests = ["REQ/S", "P95"] if site.total is not None else []
    return ["DYNO", "SERVER", "STATE", "CPU", "MEMORY", *requests, "WAITING", "RESTARTS", "RELEASE", "UP"]


def _cells(entry: Entry, site: Site, *, bars: bool) -> dict[str, Text]:
    from rich.text import Text

    row, cpu, rates = entry
    note = site.notes.get((row.dyno, row.server), "")
    color = "red" if row.state not in (*WELL, UNKNOWN) else "yellow" if note or row.state == UNKNOWN else "green"
    slow = "red" if note == "slow" else ""
    return {
        "DYNO": Text(row.dyno),
        "SERVER": Text(row.server or "-"),
        "STATE": Text(f"{row.state}, {note}" if note else row.state, color),
        "CPU": _cpu(cpu, row.share / 1000, bars=bars),
        "MEMORY": Text(memory(row), sites.memory_heat(row)),
        "REQ/S": Text("-" if rates is None else sites.rate(rates)),
        "P95": Text(sites.p95(rates), slow),
        "WAITING": Text("-") if row.waiting is None else Text(str(row.waiting), "yellow" if row.waiting else ""),
        "RESTARTS": Text(str(row.restarts), "yellow" if row.restarts else ""),
        "RELEASE": Text(f"v{row.release}" if row.release else "-"),
        "UP": Text("-" if row.uptime is None else span(row.uptime)),
    }


def _cpu(used: float | None, share: float, *, bars: bool) -> Text:
    from rich.text import Text

    if used is None:
        return Text(f"{'':{CELLS + 1 if bars else 0}}  - of {share:.0%}", "dim")
    part = used / share if share else 0.0
    full = min(CELLS, round(part * CELLS))
    bar = f"{'█' * full}{'░' * (CELLS - full)} " if bars else ""
    return Text(f"{bar}{used:3.0%} of {share:.0%}", heat(part))


def _memory(used: int, total: int) -> str:
    if total >= 2**30:
        return f"{used / 2**30:.1f} of {total / 2**30:.1f} GiB"
    return f"{used / 2**20:.0f} of {total / 2**20:.0f} MiB"
