"""Place dynos on servers: the least loaded first, without moving any that can stay; deterministic."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.model.formation import CORE


@dataclass(frozen=True)
class Place:
    """A server that can run dynos. ``used`` is the CPU quota of other apps in thousandths of a core; ``zone`` is the
    value of the label to spread over ("" without one)."""

    server: str
    cores: int
    used: int = 0
    zone: str = ""


@dataclass(frozen=True)
class Share:
    """A desired dyno and its CPU quota in thousandths of a core."""

    dyno: str
    cpu: int


@dataclass(frozen=True)
class Placement:
    """``homes`` maps each placed dyno to its server; ``missing`` is the CPU quota of the rest, in 1/1000 core."""

    homes: Mapping[str, str]
    missing: int = 0
    homeless: tuple[str, ...] = ()


def place(
    wanted: Sequence[Share],
    places: Sequence[Place],
    running: Mapping[str, tuple[str, int]],
    reserved: Mapping[str, str] | None = None,
) -> Placement:
    """Place ``wanted`` dynos, in their order.

    ``running`` maps dynos to their servers and CPU quotas; a dyno stays unless its quota grew and no longer fits.
    ``reserved`` are dynos on unreachable servers: they keep their number and their server.
    """
    index = {spot.server: number for number, spot in enumerate(places)}
    load = [spot.used for spot in places]
    zones = [spot.zone for spot in places]
    in_zone: dict[tuple[str, str], int] = {}
    homes: dict[str, str] = dict(reserved or {})
    homeless: list[Share] = []

    def settle(share: Share, number: int) -> None:
        homes[share.dyno] = places[number].server
        load[number] += share.cpu
        key = (share.dyno.partition(".")[0], zones[number])
        in_zone[key] = in_zone.get(key, 0) + 1

    movable: list[Share] = []
    for share in wanted:
        if share.dyno in homes:
            continue
        home, had = running.get(share.dyno, ("", 0))
        if home not in index:
            movable.append(share)
        elif share.cpu <= had or load[index[home]] + share.cpu <= places[index[home]].cores * CORE:
            settle(share, index[home])
        else:
            movable.append(share)

    heaps: dict[str, list[tuple[float, int]]] = {}
    for number, spot in enumerate(places):
        heaps.setdefault(spot.zone, []).append((_load(load[number], spot), number))
    for heap in heaps.values():
        heapq.heapify(heap)
    order = {zone: number for number, zone in enumerate(heaps)}
    for share in movable:
        type_ = share.dyno.partition(".")[0]
        # Zones with the fewest dynos of this type first; within a zone, the least loaded server with capacity.
        for zone in sorted(heaps, key=lambda zone: (in_zone.get((type_, zone), 0), order[zone])):
            chosen = _take(heaps[zone], share, places, load)
            if chosen is not None:
                settle(share, chosen)
                heapq.heappush(heaps[zone], (_load(load[chosen], places[chosen]), chosen))
                break
        else:
            homeless.append(share)
    return Placement(homes, sum(share.cpu for share in homeless), tuple(share.dyno for share in homeless))


def _load(used: int, spot: Place) -> float:
    return used / (spot.cores * CORE)


def _take(heap: list[tuple[float, int]], share: Share, places: Sequence[Place], load: Sequence[int]) -> int | None:
    """The least loaded server of a zone with capacity for ``share``; None if there is none."""
    passed: list[tuple[float, int]] = []
    chosen = None
    while heap:
        entry = heapq.heappop(heap)
        number = entry[1]
        if load[number] + share.cpu <= places[number].cores * CORE:
            chosen = number
            break
        if load[number] < places[number].cores * CORE:
            passed.append(entry)  # full for this share, but a smaller one may fit
    for entry in passed:
        heapq.heappush(heap, entry)
    return chosen
