"""Whether an app is up, in one sentence; what is wrong, a line each; and the parts that ``ps`` and ``top`` share."""

from __future__ import annotations

from dataclasses import asdict
from textwrap import wrap

from infra.fleet.site import Site
from infra.model.dyno_status import SERVING, WELL, Row
from infra.model.routing import WITHOUT_ROUTE
from infra.model.text import quantity
from infra.model.traffic import Rates
from infra.views import under_way
from infra.views.style import Style, one_line
from infra.views.wrapping import wrapped

_COLORS = {
    "up": "green",
    "maintenance": "yellow",
    "degraded": "yellow",
    "not applied": "",
    "down": "red",
    "unknown": "red",
}
_VERDICTS = {
    "up": "is up",
    "degraded": "is degraded",
    "maintenance": "is in maintenance mode",
    "down": "is down",
    "not applied": "is not applied",
    "unknown": "may be up or down",
}


def headline(app: str, site: Site) -> tuple[str, str, str]:
    """The verdict, its colour, and the numbers behind it."""
    if site.lost and not any(site.lost.values()) and not site.rows:
        return app, "", "connecting"
    up = f"{_up(site)} dynos"
    if site.routers:
        running = sum(router.state == "running" for router in site.routers)
        up += f" and {running} of {quantity(len(site.routers), 'router')}"
    parts = [f"{up} up"]
    if site.total is not None and site.total.count:
        parts += [f"{rate(site.total)} req/s", f"p95 {p95(site.total)}"]
        parts += [f"{share(site.total.failed)} failed"] if site.total.failed else []
    elif site.total is not None:
        parts.append("no requests in the last minute")
    return f"{app} {_VERDICTS.get(site.state, site.state)}", _COLORS[site.state], ", ".join(parts)


def above(app: str, site: Site, style: Style, width: int | None = None) -> str:
    """The first lines of ``ps``: who applies what, the verdict, and what is wrong. They are wrapped to ``width``
    columns; None: no limit."""
    lines = [style("bold", line) for line in under_way.sentences(site.applying)]
    if site.state == "not applied":
        lines.append(f"{app} is not applied: nothing of it runs. To start it: dynoctl apply")
    else:
        verdict, color, numbers = headline(app, site)
        lines.append(wrapped(f"{style(color, verdict) if color else verdict}: {numbers}", width))
        for color, words in problems(site):
            parts = wrap(words, width - 4) if width is not None and width > 40 else [words]
            lines += [f"  {style(color, part)}" if part is parts[0] else f"    {style(color, part)}" for part in parts]
    return "".join(f"{line}\n" for line in lines)


def problems(site: Site) -> list[tuple[str, str]]:
    """What is wrong and its cure, each with a colour."""
    return [("red" if problem.degrades else "bold", one_line(str(problem))) for problem in site.problems]


def _up(site: Site) -> str:
    """How many of the dynos are up, not counting schedules. Those that are on no server count, as in the blocks."""
    always = [row for row in site.rows if row.job is None]
    return f"{sum(row.state in SERVING for row in always)} of {len(always) + len(site.missing)}"


def rate(rates: Rates) -> str:
    """Requests per second: ``0.2``, ``12``; little traffic is not shown as none: ``<0.1``."""
    if 0 < rates.per_second < 0.05:
        return "<0.1"
    return f"{rates.per_second:.1f}" if rates.per_second < 10 else f"{rates.per_second:.0f}"


def share(part: float) -> str:
    """A share in percent; none that is not zero is shown as zero."""
    return "under 1%" if 0 < part < 0.01 else f"{part:.0%}"


def p95(rates: Rates | None) -> str:
    return "-" if rates is None or rates.p95 is None else f"{rates.p95} ms"


def heat(part: float) -> str:
    """The colour of a share of a limit."""
    return "red" if part >= 0.9 else "yellow" if part >= 0.7 else ""


def memory_heat(row: Row) -> str:
    """The colour of a dyno's memory."""
    return heat(row.memory / row.memory_max) if row.memory and row.memory_max else ""


def document(site: Site) -> dict[str, object]:
    """What ``ps`` and ``top`` both have as JSON. Durations of requests are in milliseconds, ``failed`` is a share."""
    return {
        "site": {
            "state": site.state,
            **_rates(site.total),
            "problems": [
                {"what": problem.what, "cure": problem.cure, "degrades": problem.degrades} for problem in site.problems
            ],
        },
        "routes": [
            {"server": one.server, "kind": one.kind, "hosts": one.hosts, "state": one.state, "maintenance": one.closed}
            | _rates(one.rates)
            for one in site.routers
        ],
        "one_offs": [{"name": one.name, "server": server} for server, one in site.one_offs],
        "routers": site.down,
        "maintenance": site.closed,
        "applying": under_way.document(site.applying),
        "held": None if site.held is None else asdict(site.held),
        "unreachable": {server: why for server, why in site.lost.items() if why},
    }


def dyno(site: Site, row: Row) -> dict[str, object]:
    """One dyno as JSON, as ``ps`` and ``top`` both have it."""
    rates = site.rates.get(row.dyno, Rates() if row.port and site.total is not None else None)
    return {**asdict(row), "note": site.notes.get((row.dyno, row.server)), **_rates(rates)}


def _rates(rates: Rates | None) -> dict[str, object]:
    return {
        "requests_per_second": None if rates is None else round(rates.per_second, 3),
        "median_ms": None if rates is None else rates.median,
        "p95_ms": None if rates is None else rates.p95,
        "failed": None if rates is None else round(rates.failed, 4),
    }


def router_state(state: str) -> tuple[str, str]:
    """A router's state in the word of dynos, and its colour."""
    return ("up", "green") if state in WELL else ("no route" if state == WITHOUT_ROUTE else state, "red")
