"""Forms the formation: which dynos are wanted, where they were, and which address and port each one has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from infra.errors import Diagnostic
from infra.fleet.facts import Facts, newest_meta
from infra.manifest.model import Manifest
from infra.model import naming, routing
from infra.model.formation import CORE, Formation
from infra.model.provider import Dyno
from infra.plan.placement import Place, Placement, Share, place

HIGHEST = 65535
"""The last TCP port."""

SAID = 8
"""Dynos that one note names."""


def form(
    manifest: Manifest, found: Mapping[str, Facts], unreachable: Iterable[str], evacuate: Collection[str] = ()
) -> Formation:
    """Place the manifest's dynos on the servers that answered (``found``, by name in the manifest). What lives on a
    server that drains moves; so does what lived on one of ``evacuate``, which nobody waits for any more."""
    app = manifest.app.name
    away = set(unreachable) - set(evacuate)
    drains = {server.name for server in manifest.servers if server.drain}
    known = recorded_homes(manifest, found)
    recorded = {dyno: home for dyno, home in known.items() if home not in evacuate}
    before = current_homes(app, found, recorded)
    wanted = [
        Share(f"{type_.name}.{number}", type_.cpu)
        for type_ in manifest.types.values()
        for number in range(1, type_.count + 1)
    ]
    names = {share.dyno for share in wanted}
    reserved = {dyno: home for dyno, home in recorded.items() if home in away and dyno in names and dyno not in before}
    running = {
        dyno: (home, found[home].dynos(app)[dyno].cpu if dyno in found[home].dynos(app) else 0)
        for dyno, home in before.items()
    }
    places = [
        Place(
            server.name,
            found[server.name].cores,
            sum(mark.cpu for mark in found[server.name].marks if mark.app != app),
            server.labels.get(manifest.spread, "") if manifest.spread else "",
        )
        for server in manifest.servers
        if server.name in found and not server.drain and server.dynos
    ]
    placed = place(wanted, places, running, reserved)
    problems = _capacity(placed, places, drains)
    # What runs on a server that drains runs on there until it has another place.
    barred = drains | {server.name for server in manifest.servers if not server.dynos}
    stuck = {dyno: before[dyno] for dyno in placed.homeless if before.get(dyno) in barred}
    placed = replace(placed, homes={**placed.homes, **stuck})
    addresses = {server.name: server.listen for server in manifest.servers}
    full: list[Diagnostic] = []
    dynos = _ports(manifest, found, placed, wanted, addresses, full)
    # While a server does not answer, its cores cannot be counted: what has no place waits, and blocks nothing.
    away -= drains  # such a server has none to give
    errors = tuple(full) if away else (*full, *problems)
    notes = [f"{one.summary}, while {', '.join(sorted(away))} cannot be reached" for one in problems if away]
    left = {**known, **before}
    for name in (server.name for server in manifest.servers):
        if name in evacuate:
            idle = "its dynos find no place" if name in left.values() else "no dyno lived there"
            notes.append(f"{name} is given up: {_moves(name, left, placed.homes) or idle}")
        elif name in drains and name in found:
            idle = "it carries no dyno, and can be taken out of the manifest"
            if name in placed.homes.values():
                idle = "its dynos stay until there is room elsewhere"
            elif here := sorted(found[name].dynos(app), key=naming.dyno_order):
                idle = f"{', '.join(here[:SAID])}{', ...' if len(here) > SAID else ''} will go once all else is well"
            notes.append(f"{name} drains: {_moves(name, left, placed.homes) or idle}")
        elif name in drains:
            notes.append(f"{name} drains and does not answer; if it is dead, say --evacuate {name}")
    lost = _away(app, found, {dyno: home for dyno, home in placed.homes.items() if home in away})
    return Formation(tuple(dynos), placed.homes, left, errors, tuple(notes), lost)


def _moves(server: str, before: Mapping[str, str], homes: Mapping[str, str]) -> str:
    """Which dynos go from a server to which others, in words."""
    moving = [dyno for dyno, home in before.items() if home == server and homes.get(dyno, server) != server]
    moving.sort(key=naming.dyno_order)
    words = [f"{dyno} moves to {homes[dyno]}" for dyno in moving[:SAID]]
    return ", ".join([*words, *([f"and {len(moving) - SAID} more"] if len(moving) > SAID else [])])


def _away(app: str, found: Mapping[str, Facts], homes: Mapping[str, str]) -> tuple[Dyno, ...]:
    """Dynos that cannot be asked, with the addresses to which routers lead for them."""
    known = {
        dyno: upstream
        for facts in found.values()
        for route in facts.routes
        if route.app == app
        for dyno, upstream in route.upstreams.items()
    }
    places = {dyno: routing.split(known.get(dyno, "")) for dyno in homes}
    return tuple(Dyno(dyno, homes[dyno], *place) for dyno, place in places.items() if place is not None)


def recorded_homes(manifest: Manifest, found: Mapping[str, Facts]) -> dict[str, str]:
    """Where the newest record says each dyno lives, by the server's present name. Homes nobody knows are left out."""
    names = {facts.machine_id: name for name, facts in found.items()}
    newest = newest_meta(found.values())
    hosts = {server.host: server.name for server in manifest.servers}
    homes: dict[str, str] = {}
    servers = newest.get("servers", {})
    for dyno, machine in newest.get("dynos", {}).items():
        # A server that does not answer is known by the address it had; one that answers, by its machine-id.
        known = servers.get(machine, {})
        name = names.get(machine) or hosts.get(known.get("host", ""))
        if name is not None:
            homes[dyno] = name
    return homes


def current_homes(app: str, found: Mapping[str, Facts], recorded: Mapping[str, str]) -> dict[str, str]:
    """Where each dyno runs now. One found twice belongs to its recorded home, or else to the first server; one
    whose recorded home does not answer has no home here."""
    seen: dict[str, list[str]] = {dyno: [] for dyno in recorded}
    for server, facts in found.items():
        for dyno in facts.dynos(app):
            seen.setdefault(dyno, []).append(server)
    homes: dict[str, str] = {}
    for dyno, servers in seen.items():
        record = recorded.get(dyno)
        if record is None:
            homes[dyno] = servers[0]
        elif record in servers or (record in found and not servers):
            homes[dyno] = record
        elif record in found:
            homes[dyno] = servers[0]
    return homes


def _capacity(placed: Placement, places: Sequence[Place], drains: Collection[str]) -> list[Diagnostic]:
    if not placed.missing:
        return []
    cores = sum(spot.cores for spot in places)
    missing = -(-placed.missing // 10) / 100
    drained = f"; {', '.join(sorted(drains))}, told to drain, none" if drains else ""
    some = ", ".join(placed.homeless[:5]) + (", ..." if len(placed.homeless) > 5 else "")
    return [
        Diagnostic(
            f"{len(placed.homeless)} dynos have no place ({some}): {missing:g} cores are missing",
            expected=f"{len(places)} servers with {cores} cores carry {CORE // 250} dynos of 0.25 CPU per core"
            f"{drained}",
            hint="Add a server, or lower dynos.*.count or dynos.*.cpu.",
        )
    ]


def _ports(
    manifest: Manifest,
    found: Mapping[str, Facts],
    placed: Placement,
    wanted: Sequence[Share],
    addresses: Mapping[str, str | None],
    errors: list[Diagnostic],
) -> list[Dyno]:
    app = manifest.app.name
    taken: dict[str, set[int]] = {}
    given: dict[str, int] = {}
    recorded = {name: facts.recorded_ports() for name, facts in found.items()}
    for name, facts in found.items():
        taken[name] = set(facts.ports) | {mark.port for mark in facts.marks}
        if manifest.router is not None and name in manifest.router.servers:
            taken[name] |= set(routing.ports(manifest.router))
        for dyno, mark in facts.dynos(app).items():
            if placed.homes.get(dyno) == name:
                # What was applied wins over a unit that somebody edited.
                given[dyno] = recorded[name].get(dyno) or mark.port
    dynos = []
    for share in wanted:
        home = placed.homes.get(share.dyno)
        if home is None or home not in found:
            continue
        type_ = naming.parse_dyno(share.dyno)[0]
        if manifest.types[type_].command is not None:
            dynos.append(Dyno(share.dyno, home))
            continue
        port = given.get(share.dyno)
        if port is None:
            port = recorded[home].get(share.dyno, 0)
            if not port or port in taken[home]:
                port = manifest.dynos[type_].port
                while port in taken[home]:
                    port += 1
                if port > HIGHEST:
                    first = manifest.dynos[type_].port
                    errors.append(
                        Diagnostic(
                            f"{home} has no free port for {share.dyno}: all from {first} are taken",
                            path=f"dynos/{type_}/port",
                            expected="a lower first port",
                        )
                    )
                    continue
        taken[home].add(port)
        dynos.append(Dyno(share.dyno, home, addresses.get(home) or found[home].address, port))
    return dynos
