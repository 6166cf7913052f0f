"""Whether an app is up, from what its servers say at one moment: its dynos, its routers and its requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from infra.fleet import problems as wrong
from infra.fleet.problems import Problem
from infra.fleet.status import ServerStatus, list_dynos
from infra.manifest.model import Manifest
from infra.model import lock_holder, merged_releases, naming, routing, traffic
from infra.model.dyno_status import REMOVED, UNKNOWN, WELL, Row, unknown
from infra.model.lock_holder import Holder
from infra.model.one_offs import OneOff
from infra.model.release import Hold, hold
from infra.model.traffic import Rates

State = Literal["up", "degraded", "down", "maintenance", "unknown", "not applied"]

BROKEN, CERTAIN = 0.9, 20
"""The share of failed requests from which an app is down, and how many requests show it: a few may be those of one
visitor who loads a broken page again."""

_ROUTERS = {
    "stopped": "is stopped",
    "failed": "has failed",
    "starting": "is starting",
    "not listening": "is not listening",
    routing.WITHOUT_ROUTE: "has no route to this app",
}


@dataclass(frozen=True)
class RouterStatus:
    """The router of the app on a server. ``state`` is ``running``, one of ``routing.DOWN``, ``routing.WITHOUT_ROUTE``
    or ``UNKNOWN``; ``closed`` is whether maintenance mode is on. ``rates`` is None if nothing is known."""

    server: str
    kind: str
    hosts: tuple[str, ...]
    state: str
    closed: bool = False
    rates: Rates | None = None


@dataclass(frozen=True)
class Site:
    """An app as a whole. ``rows`` has a row for each dyno, also for those of the servers in ``lost``, which do not
    answer; ``rates`` is by dyno, and ``total`` None if no router answers. ``one_offs`` is by server."""

    state: State
    problems: tuple[Problem, ...]
    rows: tuple[Row, ...]
    routers: tuple[RouterStatus, ...]
    one_offs: tuple[tuple[str, OneOff], ...]
    total: Rates | None
    rates: Mapping[str, Rates]
    applying: tuple[Holder, ...]
    lost: Mapping[str, str]
    held: Hold | None = None
    """The rollback because of which an apply of this manifest is refused, if the source is the same, too."""
    planned: tuple[str, ...] = ()
    """The servers of routers in the manifest that no apply has made yet."""
    missing: tuple[str, ...] = ()
    """The dynos of the manifest that are on no server, without schedules."""

    @property
    def closed(self) -> list[str]:
        """The servers of the routers with maintenance mode on."""
        return [router.server for router in self.routers if router.closed]

    @property
    def down(self) -> dict[str, str]:
        """The routers through which the app cannot be reached, and the state of each."""
        return {router.server: router.state for router in self.routers if router.state in _ROUTERS}

    @property
    def notes(self) -> dict[tuple[str, str], str]:
        """One word, by dyno and server, for each dyno that is not as it should be."""
        return {key: problem.note for problem in reversed(self.problems) for key in problem.dynos if problem.note}


def examine(manifest: Manifest, found: Mapping[str, ServerStatus], lost: Mapping[str, str]) -> Site:
    """Judge what servers say. ``lost`` are those that do not answer, with the reason, or "" if they may soon. What they
    said before may be in ``found``."""
    app = manifest.app.name
    here = {name: status for name, status in found.items() if name not in lost}
    rows = _expected(manifest, [*list_dynos(here), *_unknown(manifest, found, lost)])
    rows.sort(key=lambda row: (naming.dyno_order(row.dyno), row.server))
    read = [status.traffic for status in here.values() if status.traffic is not None]
    total, rates = traffic.rates(read)
    routers = tuple(_routers(manifest, found, lost, applied=bool(rows)))
    holders = lock_holder.holders(status.holder for status in here.values())
    one_offs = tuple((name, one) for name, status in here.items() for one in status.one_offs)
    releases = [one for one in merged_releases.merge(status.releases for status in here.values()) if one.ran]
    site = Site(
        state="up",
        problems=(),
        rows=tuple(rows),
        routers=routers,
        one_offs=one_offs,
        total=total if read else None,
        rates=rates,
        applying=holders,
        lost=lost,
        held=hold(releases, None, manifest.digest),
    )
    planned = [
        name
        for name in (manifest.router.servers if manifest.router is not None else ())
        if rows and name in here and name not in {router.server for router in routers}
    ]
    missing = wrong.missing(manifest, rows, complete=all(lost.values()))
    always = tuple(dyno for dyno in missing if naming.parse_dyno(dyno)[0] in manifest.dynos)
    site = replace(site, planned=tuple(planned), missing=always)
    problems = [
        *of_routers(site),
        *wrong.not_applied(planned),
        *wrong.unreachable(lost),
        *wrong.ill(rows),
        *wrong.restarting(rows),
        *(() if holders else wrong.behind(rows)),
        *wrong.slow(rows, rates),
    ]
    problems += [*wrong.misplaced(manifest, rows), *wrong.on_no_server(missing)]
    if not site.closed:
        problems += wrong.failing(site.total)
        working = [router.server for router in routers if router.state == "running"]
        routed = {
            dyno for name in working for route in here[name].routes if route.app == app for dyno in route.upstreams
        }
        known = {key for problem in problems if problem.note != "memory" for key in problem.dynos}
        others = [row for row in rows if working and (row.dyno, row.server) not in known]
        problems += wrong.not_routed(others, routed)
    if site.held is not None:
        problems = [wrong.rollback_held(site.held), *wrong.while_held(problems, site.held)]
    elif releases and not releases[-1].of:
        problems = [*wrong.without_rollback(problems)]
    return replace(site, problems=tuple(problems), state=_state(manifest, site, problems))


def _state(manifest: Manifest, site: Site, problems: Sequence[Problem]) -> State:
    if not site.rows:
        return "unknown" if site.lost else "not applied"
    if site.closed:
        return "maintenance"
    serving = [name for name, type_ in manifest.dynos.items() if type_.command is None and type_.count]
    idle = {key for problem in problems if problem.note == "not routed" for key in problem.dynos}
    rows = [row for row in site.rows if (row.dyno, row.server) not in idle]
    dynos = {row.state for row in rows if not serving or row.dyno.partition(".")[0] in serving}
    routers = {router.state for router in site.routers}
    routers = routers if routers and manifest.router is not None else {"running"}
    for states in (dynos, routers):
        if not states & {*WELL}:
            return "unknown" if UNKNOWN in states else "down"
    if site.total is not None and site.total.count >= CERTAIN and site.total.failed >= BROKEN:
        return "down"
    return "degraded" if any(problem.degrades for problem in problems) else "up"


def of_routers(site: Site) -> Iterator[Problem]:
    """What is wrong with the routers, or done to them."""
    for server, state in site.down.items():
        yield Problem(f"The router on {server} {_ROUTERS[state]}", "To repair it: dynoctl apply", degrades=True)
    if site.closed:
        closed = f"Maintenance mode is on ({', '.join(sorted(site.closed))})"
        yield Problem(closed, "To end it: dynoctl maintenance off")


def _routers(
    manifest: Manifest, found: Mapping[str, ServerStatus], lost: Mapping[str, str], *, applied: bool
) -> Iterator[RouterStatus]:
    own = manifest.router
    wanted = own.servers if own is not None else ()
    for name in dict.fromkeys([*wanted, *found]):
        status = found.get(name, ServerStatus())
        route = next((route for route in status.routes if route.app == manifest.app.name), None)
        kind, hosts = (route.kind, route.hosts) if route else (own.kind, own.hosts) if own else ("", ())
        if name in lost:
            if name in wanted or route is not None:
                yield RouterStatus(name, kind, hosts, UNKNOWN)
        elif route is not None:
            rates = None if status.traffic is None else traffic.rates([status.traffic])[0]
            yield RouterStatus(name, kind, hosts, route.state, route.closed, rates)
        elif name in wanted and applied and status.routed:
            yield RouterStatus(name, kind, hosts, routing.WITHOUT_ROUTE)


def _expected(manifest: Manifest, rows: Sequence[Row]) -> list[Row]:
    """The dynos, without those that are removed, as they were to be, or are elsewhere: what is left of one is its
    record."""
    there = {row.dyno for row in rows if row.state != REMOVED}
    due = {f"{name}.{number}" for name, type_ in manifest.types.items() for number in range(1, type_.count + 1)} - there
    return [row for row in rows if row.state != REMOVED or row.dyno in due]


def _unknown(manifest: Manifest, found: Mapping[str, ServerStatus], lost: Mapping[str, str]) -> Iterator[Row]:
    """A row for each dyno that may be on a server that does not answer. Where it is, a router knows, or what the server
    said before."""
    rows = [row for name, status in found.items() if name not in lost for row in status.rows]
    seen = {row.dyno for row in rows if row.state != REMOVED}
    for name in lost:
        for row in found[name].rows if name in found else ():
            seen.add(row.dyno)
            yield replace(row, state=UNKNOWN, uptime=None, memory=None, cpu_seconds=None, waiting=None)
    homes = {address: server.name for server in manifest.servers for address in (server.listen, server.host) if address}
    routed = {
        dyno: homes[place[0]]
        for status in found.values()
        for route in status.routes
        if route.app == manifest.app.name
        for dyno, address in route.upstreams.items()
        if naming.DYNO_NAME.match(dyno) and (place := routing.split(address)) and homes.get(place[0]) in lost
    }
    gone = {row.dyno for row in rows if row.state == REMOVED}
    wanted = [f"{name}.{number}" for name, type_ in manifest.types.items() for number in range(1, type_.count + 1)]
    alone = next(iter(lost)) if len(lost) == 1 else ""
    for dyno in dict.fromkeys([*wanted, *routed]) if any(lost.values()) and (seen or routed) else ():
        if dyno not in seen and (dyno not in gone or dyno in routed):
            yield unknown(dyno, routed.get(dyno, alone))
