"""Place dynos on servers: each type over the servers first, then the least loaded server, without moving any dyno that
can stay; deterministic."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from infra.model import naming
from infra.model.formation import CORE

Labels = frozenset[tuple[str, str]]
"""Labels and their values."""

Rank = tuple[float, float, int, int]
"""The order of servers; the last is the number of the server."""

Heap = list[Rank]


@dataclass(frozen=True)
class ServerCapacity:
    """A server that can run dynos. ``used`` is the CPU quota of other apps in thousandths of a core; ``zone`` is the
    value of the label to spread over ("" without one). ``per_core`` is the CPU quota of the dynos that a core takes:
    more than ``CORE`` if it is overcommitted."""

    server: str
    cores: int
    used: int = 0
    zone: str = ""
    labels: Labels = frozenset()
    per_core: int = CORE

    @property
    def room(self) -> int:
        """The CPU quota of all dynos that the server takes, in thousandths of a core."""
        return self.cores * self.per_core


@dataclass(frozen=True)
class DesiredDyno:
    """A desired dyno, its CPU quota in thousandths of a core, and the labels that its server must have."""

    name: str
    cpu: int
    labels: Labels = frozenset()

    @cached_property
    def type(self) -> str:
        return naming.parse_dyno(self.name)[0]


@dataclass(frozen=True)
class Together:
    """Dynos that must be on one server. ``home`` is that server, "" if they go to a new one, as none of them runs where
    all can. If it is none of those that dynos can be placed on, they wait for it."""

    dynos: frozenset[str]
    home: str = ""


@dataclass(frozen=True)
class Placement:
    """``homes`` maps each placed dyno to its server; ``missing`` is the CPU quota of the rest, in 1/1000 core."""

    homes: Mapping[str, str]
    missing: int = 0
    homeless: tuple[str, ...] = ()


class Layout:
    """What is on the servers, by their numbers: the load of each, and the dynos of each type on it and in its zone."""

    def __init__(self, servers: Sequence[ServerCapacity]) -> None:
        self.servers = servers
        self.load = [capacity.used for capacity in servers]
        self.dynos = [0] * len(servers)
        self.here: Counter[tuple[str, int]] = Counter()
        self.in_zone: Counter[tuple[str, str]] = Counter()

    def settle(self, dyno: DesiredDyno, number: int, count: int = 1) -> None:
        """Put a dyno on a server; take it away if ``count`` is -1."""
        self.load[number] += dyno.cpu * count
        self.dynos[number] += count
        self.here[(dyno.type, number)] += count
        self.in_zone[(dyno.type, self.servers[number].zone)] += count

    def fits(self, cpu: int, number: int) -> bool:
        """Whether a server has capacity for a CPU quota. What reserves nothing fits anywhere."""
        return not cpu or self.load[number] + cpu <= self.servers[number].room

    def rank(self, dyno: DesiredDyno, number: int) -> Rank:
        """The order in which servers get a dyno: that with the fewest of its type, in proportion to its size, then that
        which is the least loaded with it. It only grows while dynos are added."""
        room = self.servers[number].room or 1
        of_type = self.here[(dyno.type, number)]
        return of_type / room, (self.load[number] + dyno.cpu) / room, self.dynos[number], number


def place(
    wanted: Sequence[DesiredDyno],
    servers: Sequence[ServerCapacity],
    running: Mapping[str, tuple[str, int]],
    reserved: Mapping[str, str] | None = None,
    together: Sequence[Together] = (),
) -> Placement:
    """Place ``wanted`` dynos, in their order.

    ``running`` maps dynos to their servers and CPU quotas; a dyno stays unless its server lacks its labels, or its
    quota grew and no longer fits. ``reserved`` are dynos on unreachable servers: they keep their number and their
    server. Those in ``together`` are placed before the others, and then those whose labels the fewest servers have, as
    they have less choice.
    """
    index = {capacity.server: number for number, capacity in enumerate(servers)}
    layout = Layout(servers)
    homes: dict[str, str] = dict(reserved or {})
    homeless: list[DesiredDyno] = []

    def settle(dyno: DesiredDyno, number: int) -> None:
        homes[dyno.name] = servers[number].server
        layout.settle(dyno, number)

    groups = {name: group for group in together for name in group.dynos}
    movable: list[DesiredDyno] = []
    # What does not grow stays wherever it runs, so the others get what is left.
    for dyno in sorted(wanted, key=lambda dyno: dyno.cpu > running.get(dyno.name, ("", 0))[1]):
        if dyno.name in homes:
            continue
        home, had = running.get(dyno.name, ("", 0))
        bound = groups[dyno.name].home if dyno.name in groups else None
        if bound and bound not in index:
            homes[dyno.name] = bound
        elif home not in index or (not dyno.labels <= servers[index[home]].labels if bound is None else bound != home):
            movable.append(dyno)
        elif dyno.cpu <= had or layout.fits(dyno.cpu, index[home]):
            settle(dyno, index[home])
        else:
            movable.append(dyno)
    position = {dyno.name: number for number, dyno in enumerate(wanted)}
    movable.sort(key=lambda dyno: position[dyno.name])

    for dyno in [dyno for dyno in movable if dyno.name in groups and groups[dyno.name].home]:
        movable.remove(dyno)
        number = index[groups[dyno.name].home]
        if layout.fits(dyno.cpu, number):
            settle(dyno, number)
        else:
            homeless.append(dyno)

    queues: dict[tuple[str, int, Labels], dict[str, Heap]] = {}
    choice = {labels: sum(labels <= one.labels for one in servers) for labels in {dyno.labels for dyno in movable}}
    movable.sort(key=lambda dyno: choice[dyno.labels])
    units = [[dyno] for dyno in movable if dyno.name not in groups]
    units[:0] = [members for group in together if (members := [one for one in movable if one.name in group.dynos])]
    for unit in units:
        labels = frozenset[tuple[str, str]]().union(*(member.labels for member in unit))
        dyno = DesiredDyno(unit[0].name, sum(member.cpu for member in unit), labels)
        kind = (dyno.type, dyno.cpu, labels)
        if kind not in queues:
            queues[kind] = _queues(dyno, layout)
        chosen = _choose(queues[kind], dyno, layout)
        if chosen is None:
            homeless += unit
            continue
        for member in unit:
            settle(member, chosen)
    return Placement(homes, sum(dyno.cpu for dyno in homeless), tuple(dyno.name for dyno in homeless))


def _queues(dyno: DesiredDyno, layout: Layout) -> dict[str, Heap]:
    """By zone, a heap of the servers that may run a dyno."""
    heaps: dict[str, Heap] = {}
    for number, capacity in enumerate(layout.servers):
        if dyno.labels <= capacity.labels:
            heaps.setdefault(capacity.zone, []).append(layout.rank(dyno, number))
    for heap in heaps.values():
        heapq.heapify(heap)
    return heaps


def _choose(zones: dict[str, Heap], dyno: DesiredDyno, layout: Layout) -> int | None:
    """The server for a dyno: of the zones with the fewest dynos of its type, the first one with capacity."""
    best: tuple[int, Rank] | None = None
    for zone in list(zones):
        count = layout.in_zone[(dyno.type, zone)]
        if best is not None and count > best[0]:
            continue
        first = _first(zones[zone], dyno, layout)
        if first is None:
            del zones[zone]
        elif best is None or (count, first) < best:
            best = (count, first)
    return None if best is None else best[1][-1]


def _first(heap: Heap, dyno: DesiredDyno, layout: Layout) -> Rank | None:
    """The first server of a zone with capacity for a dyno. Those without are removed, as loads only grow."""
    while heap:
        number = heap[0][-1]
        if not layout.fits(dyno.cpu, number):
            heapq.heappop(heap)
        elif heap[0] != (now := layout.rank(dyno, number)):
            heapq.heapreplace(heap, now)
        else:
            return now
    return None
