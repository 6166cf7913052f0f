"""Compute the formation: the desired dynos, their servers now and before, and their addresses and ports."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from infra.errors import Diagnostic
from infra.fleet.facts import Facts, newest_meta
from infra.fleet.identity import identify
from infra.manifest.host_names import link_local
from infra.manifest.model import Manifest, Volume
from infra.model import naming, routing
from infra.model.formation import CORE, Formation
from infra.model.provider import Dyno
from infra.model.ranges import shortened
from infra.plan import room
from infra.plan.balance import even
from infra.plan.placement import DesiredDyno, Placement, ServerCapacity, Together, place
from infra.plan.volumes import together

HIGHEST = 65535
"""The highest TCP port."""

NAMED = 8
"""Maximum number of dynos named in a note."""


def form(
    manifest: Manifest,
    found: Mapping[str, Facts],
    unreachable: Iterable[str],
    evacuate: Collection[str] = (),
    forgotten: Collection[str] = (),
    *,
    volumes: Sequence[Volume] = (),
    holders: Mapping[str, Collection[str]] = MappingProxyType({}),
    rebalance: bool = False,
) -> Formation:
    """Place the dynos on the reachable servers (``found``, by name in the manifest). Dynos on draining servers are
    moved; so are the dynos of lost servers in ``evacuate``, and of machines in ``forgotten`` (by machine-id), and those
    on servers without their labels. Dynos that share ``volumes`` are placed together, on one of the ``holders`` of the
    data. With ``rebalance``, dynos move until the placement is even."""
    app = manifest.app.name
    waiting = set(unreachable) - set(evacuate)
    drains = {server.name for server in manifest.servers if server.drain}
    homes = recorded_homes(manifest, found, forgotten)
    recorded = {dyno: home for dyno, home in homes.items() if home not in evacuate}
    before = current_homes(app, found, recorded)
    labels = room.labels_of(manifest, volumes)
    wanted = [
        DesiredDyno(f"{type_.name}.{number}", type_.cpu, labels[type_.name])
        for type_ in manifest.types.values()
        for number in range(1, type_.count + 1)
    ]
    names = {dyno.name for dyno in wanted}
    leaving = {dyno: home for dyno, home in _leaving(manifest, found, forgotten).items() if dyno not in homes}
    reserved = {
        dyno: home
        for dyno, home in {**leaving, **recorded}.items()
        if home in waiting and dyno in names and dyno not in before
    }
    running = {
        dyno: (home, found[home].dynos(app)[dyno].cpu if dyno in found[home].dynos(app) else 0)
        for dyno, home in before.items()
    }
    places = [
        ServerCapacity(
            server.name,
            found[server.name].cores,
            sum(mark.reserved for mark in found[server.name].marks if mark.app != app),
            server.labels.get(manifest.spread, "") if manifest.spread else "",
            frozenset(server.labels.items()),
            manifest.per_core,
        )
        for server in manifest.servers
        if server.name in found and not server.drain and server.dynos
    ]
    usable = [place.server for place in places]
    allowed = {name: {place.server for place in places if has <= place.labels} for name, has in labels.items()}
    groups = together(volumes, [dyno.name for dyno in wanted], holders, before, reserved, (usable, allowed))
    bound = {dyno for group in groups for dyno in group.dynos}
    placed = place(wanted, places, running, reserved, groups)
    # What runs is not removed because there is no room for it: on its server it keeps the quota that it has.
    kept: dict[str, int] = {}
    astray = {dyno: home for dyno, home in before.items() if home in usable and _astray(dyno, home, bound, allowed)}
    held = {dyno.name: dyno for dyno in wanted}
    while grown := [dyno for dyno in placed.homeless if running.get(dyno, ("", 0))[0] in usable and dyno not in kept]:
        kept |= {dyno: running[dyno][1] for dyno in grown}
        held |= {dyno: replace(held[dyno], cpu=kept[dyno]) for dyno in grown}
        held |= {dyno: replace(held[dyno], labels=frozenset()) for dyno in grown if dyno in astray}
        placed = place(list(held.values()), places, running, reserved, groups)
    placed = replace(placed, homeless=tuple(dict.fromkeys((*kept, *placed.homeless))))
    others = {
        dyno.name: dyno.cpu - (0 if dyno.name in astray else kept.get(dyno.name, 0))
        for dyno in wanted
        if dyno.name in placed.homeless and dyno.name not in bound
    }
    problems = room.shortages(manifest, others, {dyno.name: dyno for dyno in wanted}, places, placed.homes)
    problems += room.bound(manifest, placed, groups)
    misplaced = room.misplaced(manifest, volumes, groups, places, list(held))
    notes = []
    for name in dict.fromkeys(astray.values()):
        lost = {dyno: home for dyno, home in astray.items() if home == name}
        if moves := _moves(name, lost, placed.homes):
            notes.append(f"{name} does not have the labels of some dynos: {moves}")
    if rebalance:
        level = even(list(held.values()), places, placed.homes, before, bound | kept.keys())
        moved = {home: _moves(home, placed.homes, level) for home in dict.fromkeys(placed.homes.values())}
        notes += [f"to make the placement even, from {home}: {moves}" for home, moves in moved.items() if moves]
        placed = replace(placed, homes=level)
    follow = {dyno: group.home for group in groups for dyno in group.dynos if group.home in waiting - drains}
    # Also on a server that drains or left the manifest it keeps running until there is capacity on another one.
    stuck = {dyno: before[dyno] for dyno in placed.homeless if before.get(dyno) in found}
    placed = replace(placed, homes={**placed.homes, **stuck})
    # A volume that does not exist yet is not created where what waits for other servers keeps running.
    new = {(group.dynos, stuck[dyno]) for group in groups if not group.home for dyno in group.dynos & stuck.keys()}
    for dynos_, home in sorted(new, key=lambda pair: (pair[1], sorted(pair[0]))):
        group = Together(dynos_, home)
        misplaced += room.misplaced(manifest, volumes, [group], places, list(held), new=True)
    addresses = {server.name: server.listen for server in manifest.servers}
    full: list[Diagnostic] = []
    dynos = _ports(manifest, found, placed, wanted, addresses, full)
    dynos = [replace(dyno, cpu=kept.get(dyno.name, 0)) for dyno in dynos]
    # The cores of unreachable servers are unknown: dynos that cannot be placed wait for them, and are no error.
    waiting -= drains  # they have no capacity for dynos
    errors = (*full, *misplaced) if waiting else (*full, *misplaced, *problems)
    notes += [
        f"{problem.summary}, while {', '.join(sorted(waiting))} {'is' if len(waiting) == 1 else 'are'} unreachable"
        for problem in problems
        if waiting
    ]
    notes += [
        f"{dyno} waits for {home}, which is unreachable and has its volume"
        for dyno, home in sorted(follow.items())
        if dyno not in reserved
    ]
    notes += [
        f"{dyno} keeps running on {home} with {kept[dyno] / CORE:g} CPU until there is capacity"
        if dyno in kept
        else f"{dyno} keeps running on {home}, which is not in {manifest.file.name}, until there is capacity"
        for dyno, home in stuck.items()
        if waiting and (dyno in kept or home not in addresses)
    ]
    previous = {**homes, **before}
    for name in (server.name for server in manifest.servers):
        if name in evacuate:
            idle = "no capacity for its dynos on other servers" if name in previous.values() else "it had no dynos"
            notes.append(f"{name} is evacuated: {_moves(name, previous, placed.homes) or idle}")
        elif name in drains and name in found:
            idle = "it has no dynos left and can be removed from the manifest"
            if name in placed.homes.values():
                idle = "its dynos keep running until there is capacity on another server"
            elif running_here := sorted(found[name].dynos(app), key=naming.dyno_order):
                names_shown = ", ".join(running_here[:NAMED]) + (", ..." if len(running_here) > NAMED else "")
                idle = f"{names_shown} will be removed after all other changes succeeded"
            notes.append(f"{name} is draining: {_moves(name, previous, placed.homes) or idle}")
        elif name in drains:
            notes.append(f"{name} is draining and unreachable; if it is lost: dynoctl apply --evacuate {name}")
    upstreams = _unreachable(app, found, {dyno: home for dyno, home in placed.homes.items() if home in waiting})
    return Formation(tuple(dynos), placed.homes, previous, errors, tuple(notes), upstreams)


def _astray(dyno: str, home: str, bound: Collection[str], allowed: Mapping[str, Collection[str]]) -> bool:
    """Whether a dyno runs on a server that lacks its labels. Those ``bound`` stay with their volume."""
    type_ = naming.parse_dyno(dyno)[0]
    return dyno not in bound and type_ in allowed and home not in allowed[type_]


def _moves(server: str, before: Mapping[str, str], homes: Mapping[str, str]) -> str:
    """The dynos that move from a server to others, as text."""
    moving = [dyno for dyno, home in before.items() if home == server and homes.get(dyno, server) != server]
    moving.sort(key=naming.dyno_order)
    there: dict[str, list[str]] = {}
    for dyno in moving:
        there.setdefault(homes[dyno], []).append(dyno)
    named = list(there.items())[:NAMED]
    moves = [f"{shortened(dynos, 'dyno')} {'move' if dynos[1:] else 'moves'} to {home}" for home, dynos in named]
    more = len(moving) - sum(len(dynos) for _, dynos in named)
    return ", ".join([*moves, *([f"and {more} more"] if more else [])])


def _unreachable(app: str, found: Mapping[str, Facts], homes: Mapping[str, str]) -> tuple[Dyno, ...]:
    """The dynos on unreachable servers, with the addresses that the routers have for them."""
    upstreams = {
        dyno: upstream
        for facts in found.values()
        for route in facts.routes
        if route.app == app
        for dyno, upstream in route.upstreams.items()
    }
    places = {dyno: routing.split(upstreams.get(dyno, "")) for dyno in homes}
    return tuple(Dyno(dyno, homes[dyno], *place) for dyno, place in places.items() if place is not None)


def recorded_homes(manifest: Manifest, found: Mapping[str, Facts], forgotten: Collection[str] = ()) -> dict[str, str]:
    """The server of each dyno by the newest record, as the server is named now. Unknown servers are left out, and so
    are machines in ``forgotten``."""
    names = {facts.machine_id: name for name, facts in found.items()}
    known = {**identify(manifest, found).servers, **names}
    newest = newest_meta(found.values())
    homes: dict[str, str] = {}
    app, moving = manifest.app.name, newest.get("moving", {})
    for dyno, to in newest.get("dynos", {}).items():
        machine, left = to, moving.get(dyno, to)
        if not {left} & {*names, *forgotten} and to in names and dyno not in found[names[to]].dynos(app):
            machine = left  # its move was interrupted: it may still run where it was
        if machine in known and machine not in forgotten:
            homes[dyno] = known[machine]
    return homes


def _leaving(manifest: Manifest, found: Mapping[str, Facts], forgotten: Collection[str]) -> dict[str, str]:
    """The unreachable server of each dyno that was no longer wanted, and that was not removed as far as is known."""
    machines = identify(manifest, found).servers
    recorded = newest_meta(found.values()).get("leaving", {})
    return {
        dyno: machines[machine]
        for dyno, machine in recorded.items()
        if machine in machines and machine not in forgotten
    }


def current_homes(app: str, found: Mapping[str, Facts], recorded: Mapping[str, str]) -> dict[str, str]:
    """The server on which each dyno runs now. A dyno found on several servers belongs to the recorded one, or else to
    the first. A dyno whose recorded server is unreachable is left out."""
    found_on: dict[str, list[str]] = {dyno: [] for dyno in recorded}
    for server, facts in found.items():
        for dyno in facts.dynos(app):
            found_on.setdefault(dyno, []).append(server)
    homes: dict[str, str] = {}
    for dyno, servers in found_on.items():
        record = recorded.get(dyno)
        if record is None:
            homes[dyno] = servers[0]
        elif record in servers or (record in found and not servers):
            homes[dyno] = record
        elif record in found:
            homes[dyno] = servers[0]
    return homes


def _ports(
    manifest: Manifest,
    found: Mapping[str, Facts],
    placed: Placement,
    wanted: Sequence[DesiredDyno],
    addresses: Mapping[str, str | None],
    errors: list[Diagnostic],
) -> list[Dyno]:
    app, meta = manifest.app.name, newest_meta(found.values())
    taken: dict[str, set[int]] = {}
    assigned: dict[str, int] = {}
    recorded = {name: facts.recorded_ports() for name, facts in found.items()}
    hosts = {server.name: server.host for server in manifest.servers}
    routed = [place for facts in found.values() for place in routing.others(app, facts.routes)]
    for name, facts in found.items():
        taken[name] = set(facts.ports) | {mark.port for mark in facts.marks}
        # A router may lead to a dyno of another app that is gone: whoever gets its port gets its requests.
        here = {facts.address, addresses.get(name), hosts.get(name)}
        taken[name] |= {port for address, port in routed if address in here}
        if manifest.router is not None and name in manifest.router.servers:
            taken[name] |= set(routing.ports(manifest.router))
        for dyno, mark in facts.dynos(app).items():
            if placed.homes.get(dyno) == name:
                # The recorded port wins over the port in a unit that was edited by hand.
                assigned[dyno] = recorded[name].get(dyno) or mark.port
    dynos = []
    for wanted_dyno in wanted:
        home = placed.homes.get(wanted_dyno.name)
        if home is None or home not in found:
            continue
        type_ = naming.parse_dyno(wanted_dyno.name)[0]
        if manifest.types[type_].command is not None:
            dynos.append(Dyno(wanted_dyno.name, home, mounts=found[home].mounts))
            continue
        port = assigned.get(wanted_dyno.name)
        if port is None:
            port = recorded[home].get(wanted_dyno.name, 0)
            own = found[home].held.get(wanted_dyno.name) in (port, 0)
            if not port or (port in taken[home] and not own):
                port = manifest.dynos[type_].port
                while port in taken[home]:
                    port += 1
                if port > HIGHEST:
                    first = manifest.dynos[type_].port
                    errors.append(
                        Diagnostic(
                            f"no free port for {wanted_dyno.name} on {home}: all ports from {first} are in use",
                            path=f"dynos/{type_}/port",
                            expected="a lower first port",
                        )
                    )
                    continue
        taken[home].add(port)
        listen = addresses.get(home) or found[home].own_address(meta)
        if link_local(listen):
            errors.append(
                Diagnostic(
                    f"{wanted_dyno.name} cannot listen on {listen}, a link-local address by which {home} was reached",
                    path="servers",
                    expected=f"listen of {home} with another of its addresses",
                )
            )
        dynos.append(Dyno(wanted_dyno.name, home, listen, port, mounts=found[home].mounts))
    return dynos
