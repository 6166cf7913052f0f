"""The dynos grouped by process type, in the format of Heroku's ``ps``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from infra.fleet.site import Site
from infra.manifest.model import Manifest
from infra.model.dyno_status import SERVING, UNKNOWN, WELL, Job, Row
from infra.model.target import host_port
from infra.views import alike
from infra.views import site as sites
from infra.views.dynos import span
from infra.views.style import Style, one_line
from infra.views.table import fitted, line, padded

_STATE, _ADDRESS, _RELEASE, _MEMORY, _RESTARTS, _NOTE = 1, 3, 4, 5, 6, -1

_LEAST = (_ADDRESS, _RESTARTS, _RELEASE)
"""The columns that a narrow terminal does without, the first of these first."""


def render(
    manifest: Manifest,
    site: Site,
    style: Style,
    only: Collection[str] = (),
    *,
    width: int | None = None,
    brief: bool = False,
) -> str:
    """A block per process type: how many of its dynos are up, what they run, and a line per dyno. ``only`` are the
    process types, dynos and servers to show; ``width`` are the columns of the terminal (None: no limit); ``brief``: if
    there are many dynos, those that are alike share a line."""
    rows, notes = site.rows, site.notes
    types = list(manifest.types)
    types += sorted({row.dyno.partition(".")[0] for row in rows} - set(types))
    together = brief and len(rows) > alike.MANY
    own: dict[str, list[Row]] = {type_: [] for type_ in types}
    for row in rows:
        own[row.dyno.partition(".")[0]].append(row)
    shown: dict[str, list[list[Row]]] = {}
    for type_, every in own.items():
        some = every if not only or type_ in only else [row for row in every if {row.dyno, row.server} & {*only}]
        wanted = manifest.types[type_].count if type_ in manifest.types else 0
        if (every or wanted) and (not only or type_ in only or some):
            shown[type_] = alike.groups(some, notes) if together else [[row] for row in some]
    single = [same[0] for groups in shown.values() for same in groups if len(same) == 1 and same[0].job is None]
    requests = _requests(site)
    texts = fitted(padded([_cells(row, requests, notes) for row in single]), width, _LEAST)
    cells = dict(zip(((row.dyno, row.server) for row in single), texts, strict=True))
    blocks = [] if only else _routers(site, style)
    for type_, groups in shown.items():
        wanted = manifest.types[type_].count if type_ in manifest.types else 0
        head = style("bold", f"=== {type_}")
        lines = [f"{head} ({_count(manifest, type_, own[type_], wanted, style)}): {command(manifest, type_)}"]
        for same in groups:
            row = same[0]
            if len(same) > 1:
                lines.append(alike.text(same, notes.get((row.dyno, row.server), ""), style))
            elif row.job is not None:
                lines.append(_scheduled(row, row.job, style))
            else:
                lines.append(line(_colored(row, cells[row.dyno, row.server], style)))
        blocks.append("\n".join(lines))
    one_offs = [(server, one) for server, one in site.one_offs if not only or server in only]
    if one_offs:
        lines = [line((f"{one.name}:", style("green", "running"), server)) for server, one in one_offs]
        blocks.append("\n".join([style("bold", "=== one-off dynos"), *lines]))
    if not blocks and site.state == "not applied":
        return "No dynos. To start those of dyno.yaml: dynoctl apply"
    return "\n\n".join(blocks)


def _routers(site: Site, style: Style) -> list[str]:
    """A block with a line for each router."""
    if not site.routers:
        return []
    up = sum(router.state == "running" for router in site.routers)
    count = style("green" if up == len(site.routers) else "red", f"{up} of {len(site.routers)} up")
    about = {": ".join([router.kind, *([", ".join(router.hosts)] if router.hosts else [])]) for router in site.routers}
    lines = [f"{style('bold', '=== router')} ({count}): {one_line('; '.join(sorted(about)))}"]
    cells = []
    for router in site.routers:
        rates = router.rates
        numbers = ("", "", "") if rates is None else ("no requests", "", "")
        if rates is not None and rates.count:
            numbers = (f"{sites.rate(rates)} req/s", f"p95 {sites.p95(rates)}", f"{sites.share(rates.failed)} failed")
        state = "maintenance" if router.closed and router.state in WELL else sites.router_state(router.state)[0]
        cells.append((f"{router.server}:", state, *numbers))
    for router, text in zip(site.routers, padded(cells), strict=True):
        text[1] = style("yellow" if router.closed else sites.router_state(router.state)[1], text[1])
        lines.append(line(text))
    return ["\n".join(lines)]


def _colored(row: Row, texts: list[str], style: Style) -> list[str]:
    """The cells of a dyno that are not empty, in colour."""
    color = "yellow" if row.state == UNKNOWN else "green" if row.state in SERVING else "red"
    texts = [*texts]
    texts[_STATE] = style(color, texts[_STATE])
    if heat := sites.memory_heat(row):
        texts[_MEMORY] = style(heat, texts[_MEMORY])
    texts[_NOTE] = style("bold", texts[_NOTE].rstrip())
    return [text for text in texts if text]


def _count(manifest: Manifest, type_: str, own: Sequence[Row], wanted: int, style: Style) -> str:
    """The heading of a block: how many dynos are up, or when the schedule runs."""
    whens = [schedule.when for schedule in manifest.schedule if schedule.name == type_]
    if whens or (own and all(row.job is not None for row in own)):
        well = len(own) == wanted and all(row.state != "stopped" for row in own)
        return style("green" if well else "red", one_line(whens[0] if whens else "a schedule"))
    up = sum(row.state in SERVING for row in own)
    return style("green" if up == wanted == len(own) else "red", f"{up} of {wanted} up")


def _scheduled(row: Row, job: Job, style: Style) -> str:
    """A line such as ``nightly.1: waiting  grid-2  v3  last: ok 3h ago, took 12s  next: in 20h 50m``."""
    state = style("red" if row.state == "stopped" else "green", row.state)
    last = "not run yet"
    if job.ended is not None:
        took = "" if job.took is None else f", took {span(job.took)}"
        last = f"{style('green' if job.result == 'ok' else 'red', job.result)} {span(job.ended)} ago{took}"
    next_ = "never" if job.next is None else f"in {span(job.next)}"
    release = f"v{row.release}" if row.release else "-"
    return "  ".join((f"{row.dyno}:", state, row.server, release, f"last: {last}", f"next: {next_}"))


def command(manifest: Manifest, type_: str) -> str:
    """What the dynos of a type run: their command, or what the app server serves."""
    if type_ not in manifest.types:
        return "no longer in dyno.yaml"
    own = manifest.types[type_].command
    if own is not None:
        return one_line(own if isinstance(own, str) else " ".join(own))
    served = manifest.rackup or (manifest.framework.name if manifest.framework else "")
    return f"{one_line(served)} on {manifest.app_server.name}"


def by_type(manifest: Manifest, rows: Sequence[Row]) -> Mapping[str, Mapping[str, object]]:
    """The headings of the blocks as JSON values."""
    return {
        type_: {
            "command": command(manifest, type_),
            "wanted": manifest.dynos[type_].count,
            "up": sum(row.state in SERVING and row.dyno.partition(".")[0] == type_ for row in rows),
        }
        for type_ in manifest.dynos
    }


def memory(row: Row) -> str:
    """The memory a dyno uses of its limit, such as ``43 of 512 MiB``."""
    if row.memory is None:
        return "-"
    limit = "" if row.memory_max is None else f" of {row.memory_max / 2**20:.0f}"
    return f"{row.memory / 2**20:.0f}{limit} MiB"


def address(row: Row) -> str:
    """The address that a web dyno listens on."""
    return host_port(row.listen, row.port) if row.port else "-"


def _requests(site: Site) -> Mapping[str, str] | None:
    """The requests of each dyno of which there were any; None if the app has no router that counts them."""
    if site.total is None:
        return None
    texts = {dyno: f"{sites.rate(rates)}/s" for dyno, rates in site.rates.items()}
    width = max(map(len, texts.values()), default=0)
    return {dyno: f"{texts[dyno]:<{width}}  p95 {sites.p95(rates)}" for dyno, rates in site.rates.items()}


def _cells(row: Row, requests: Mapping[str, str] | None, notes: Mapping[tuple[str, str], str]) -> tuple[str, ...]:
    note = notes.get((row.dyno, row.server), "")
    lost = row.state == UNKNOWN
    none = "" if lost else "-"
    uptime = "" if row.uptime is None else f" {span(row.uptime)}"
    restarts = "" if lost else "1 restart" if row.restarts == 1 else f"{row.restarts} restarts"
    release = f"v{row.release}" if row.release else none
    used = none if row.memory is None else memory(row)
    where = address(row) if row.port else none
    # Nothing is routed to a dyno without a port.
    answered = "" if requests is None else requests.get(row.dyno, "no requests" if row.port and not lost else "")
    state = f"{row.state}{uptime}"
    return (f"{row.dyno}:", state, row.server or "-", where, release, used, restarts, answered, note)
