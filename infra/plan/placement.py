"""Place dynos on servers: the least loaded first, without moving any that can stay; deterministic."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.model.formation import CORE


@dataclass(frozen=True)
class ServerCapacity:
    """A server that can run dynos. ``used`` is the CPU quota of other apps in thousandths of a core; ``zone`` is the
    value of the label to spread over ("" without one)."""

    server: str
    cores: int
    used: int = 0
    zone: str = ""


@dataclass(frozen=True)
class DesiredDyno:
    """A desired dyno and its CPU quota in thousandths of a core."""

    name: str
    cpu: int


@dataclass(frozen=True)
class Together:
    """Dynos that must be on one server. ``home`` is that server, "" if any server will do. If it is none of those that
    dynos can be placed on, they wait for it."""

    dynos: frozenset[str]
    home: str = ""


@dataclass(frozen=True)
class Placement:
    """``homes`` maps each placed dyno to its server; ``missing`` is the CPU quota of the rest, in 1/1000 core."""

    homes: Mapping[str, str]
    missing: int = 0
    homeless: tuple[str, ...] = ()


def place(
    wanted: Sequence[DesiredDyno],
    servers: Sequence[ServerCapacity],
    running: Mapping[str, tuple[str, int]],
    reserved: Mapping[str, str] | None = None,
    together: Sequence[Together] = (),
) -> Placement:
    """Place ``wanted`` dynos, in their order.

    ``running`` maps dynos to their servers and CPU quotas; a dyno stays unless its quota grew and no longer fits.
    ``reserved`` are dynos on unreachable servers: they keep their number and their server. Those in ``together`` are
    placed before the others, as they have less choice.
    """
    index = {capacity.server: number for number, capacity in enumerate(servers)}
    load = [capacity.used for capacity in servers]
    zones = [capacity.zone for capacity in servers]
    in_zone: dict[tuple[str, str], int] = {}
    homes: dict[str, str] = dict(reserved or {})
    homeless: list[DesiredDyno] = []

    def settle(dyno: DesiredDyno, number: int) -> None:
        homes[dyno.name] = servers[number].server
        load[number] += dyno.cpu
        key = (dyno.name.partition(".")[0], zones[number])
        in_zone[key] = in_zone.get(key, 0) + 1

    groups = {name: group for group in together for name in group.dynos}
    movable: list[DesiredDyno] = []
    # What does not grow stays wherever it runs, so the others get what is left.
    for dyno in sorted(wanted, key=lambda dyno: dyno.cpu > running.get(dyno.name, ("", 0))[1]):
        if dyno.name in homes:
            continue
        home, had = running.get(dyno.name, ("", 0))
        bound = groups[dyno.name].home if dyno.name in groups else ""
        if bound and bound not in index:
            homes[dyno.name] = bound
        elif home not in index or (bound and bound != home):
            movable.append(dyno)
        elif dyno.cpu <= had or load[index[home]] + dyno.cpu <= servers[index[home]].cores * CORE:
            settle(dyno, index[home])
        else:
            movable.append(dyno)
    position = {dyno.name: number for number, dyno in enumerate(wanted)}
    movable.sort(key=lambda dyno: position[dyno.name])

    for dyno in [dyno for dyno in movable if dyno.name in groups and groups[dyno.name].home]:
        movable.remove(dyno)
        number = index[groups[dyno.name].home]
        if load[number] + dyno.cpu <= servers[number].cores * CORE:
            settle(dyno, number)
        else:
            homeless.append(dyno)

    heaps: dict[str, list[tuple[float, int]]] = {}
    for number, capacity in enumerate(servers):
        heaps.setdefault(capacity.zone, []).append((_load(load[number], capacity), number))
    for heap in heaps.values():
        heapq.heapify(heap)
    order = {zone: number for number, zone in enumerate(heaps)}
    units = [[dyno] for dyno in movable if dyno.name not in groups]
    units[:0] = [members for group in together if (members := [one for one in movable if one.name in group.dynos])]
    for unit in units:
        dyno = DesiredDyno(unit[0].name, sum(member.cpu for member in unit))
        type_ = dyno.name.partition(".")[0]
        # Zones with the fewest dynos of this type first; within a zone, the least loaded server with capacity.
        for zone in sorted(heaps, key=lambda zone: (in_zone.get((type_, zone), 0), order[zone])):
            chosen = _take(heaps[zone], dyno, servers, load)
            if chosen is not None:
                for member in unit:
                    settle(member, chosen)
                heapq.heappush(heaps[zone], (_load(load[chosen], servers[chosen]), chosen))
                break
        else:
            homeless += unit
    return Placement(homes, sum(dyno.cpu for dyno in homeless), tuple(dyno.name for dyno in homeless))


def _load(used: int, capacity: ServerCapacity) -> float:
    return used / (capacity.cores * CORE)


def _take(
    heap: list[tuple[float, int]], dyno: DesiredDyno, servers: Sequence[ServerCapacity], load: Sequence[int]
) -> int | None:
    """The least loaded server of a zone with capacity for ``dyno``; None if there is none."""
    passed: list[tuple[float, int]] = []
    chosen = None
    while heap:
        entry = heapq.heappop(heap)
        number = entry[1]
        if load[number] + dyno.cpu <= servers[number].cores * CORE:
            chosen = number
            break
        if load[number] < servers[number].cores * CORE:
            passed.append(entry)  # full for this dyno, but a smaller one may fit
    for entry in passed:
        heapq.heappush(heap, entry)
    return chosen
