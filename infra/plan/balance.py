"""Make a placement even with few moves: what ``dynoctl rebalance`` plans."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from infra.model import naming
from infra.plan.placement import DesiredDyno, Layout, ServerCapacity


@dataclass(frozen=True)
class _Move:
    """A move of a dyno between two servers, by their numbers, with its worth: the least is the best."""

    worth: tuple[float, ...]
    kind: DesiredDyno
    source: int
    target: int


def even(
    wanted: Sequence[DesiredDyno],
    servers: Sequence[ServerCapacity],
    homes: Mapping[str, str],
    before: Mapping[str, str],
    bound: Collection[str] = (),
) -> dict[str, str]:
    """``homes`` after the moves that make it even. Those ``bound`` do not move; ``before`` is where dynos run now.

    A placement is even if no move of one dyno to a server with capacity takes load off a server that has more than it
    takes, or spreads a type better over the zones, or over the servers in proportion to their size, or makes the fuller
    one of two servers less full. A move makes none of these worse that comes before the one it improves. So there is an
    end, and what is even stays."""
    index = {capacity.server: number for number, capacity in enumerate(servers)}
    search = _Search(servers)
    for dyno in wanted:
        if (home := homes.get(dyno.name)) in index:
            search.add(dyno, index[home], movable=dyno.name not in bound)
    search.run()
    return {**homes, **{name: servers[number].server for name, number in search.moved(before, index).items()}}


class _Search:
    """The dynos on their servers, moved one by one. Dynos of one type, quota and labels are alike: one stands for all,
    and which of them move is decided in the end."""

    def __init__(self, servers: Sequence[ServerCapacity]) -> None:
        self.servers = servers
        self.zones = [one.zone for one in servers]
        self.rooms = [one.room or 1 for one in servers]
        self.layout = Layout(servers)
        self.dynos: dict[DesiredDyno, dict[str, int]] = {}
        self.count: Counter[tuple[DesiredDyno, int]] = Counter()
        self.fitting: dict[DesiredDyno, list[int]] = {}
        self._alike: dict[tuple[object, ...], DesiredDyno] = {}

    def add(self, dyno: DesiredDyno, number: int, *, movable: bool) -> None:
        self.layout.settle(dyno, number)
        if movable:
            kind = self._alike.setdefault((dyno.type, dyno.cpu, dyno.labels), dyno)
            self.dynos.setdefault(kind, {})[dyno.name] = number
            self.count[(kind, number)] += 1
            if kind not in self.fitting:
                self.fitting[kind] = [at for at, one in enumerate(self.servers) if kind.labels <= one.labels]

    def run(self) -> None:
        while self._best(self._relieving) or self._spread() or self._best(self._levelling):
            pass

    def moved(self, before: Mapping[str, str], index: Mapping[str, int]) -> dict[str, int]:
        """The dynos that change their server: as few as possible, those first that do not run where they are, then the
        highest numbers."""
        found: dict[str, int] = {}
        for kind, dynos in self.dynos.items():
            surplus = Counter(dynos.values())
            surplus.subtract({number: self.count[(kind, number)] for number in self.fitting[kind]})
            free = [number for number in self.fitting[kind] for _ in range(-surplus[number])]
            running = {name for name, number in dynos.items() if index.get(before.get(name, "")) == number}
            for name in sorted(dynos, key=lambda name: (name in running, -naming.parse_dyno(name)[1])):
                if surplus[dynos[name]] > 0:
                    surplus[dynos[name]] -= 1
                    found[name] = free.pop(0)
        return found

    def _best(self, moves: Callable[[DesiredDyno], Iterable[_Move]]) -> bool:
        """Make the best move of all kinds, if there is one."""
        move = min((move for kind in self.dynos for move in moves(kind)), key=lambda move: move.worth, default=None)
        if move is not None:
            self._make(move)
        return move is not None

    def _spread(self) -> bool:
        """Spread each type by itself."""
        any_ = False
        for kind in self.dynos:
            sources = _Firsts(self.fitting[kind], self.zones, partial(self._source, kind))
            targets = _Firsts(self.fitting[kind], self.zones, partial(self._target, kind))
            while move := min(self._spreading(kind, sources, targets), key=lambda move: move.worth, default=None):
                self._make(move)
                for number in (move.source, move.target):
                    sources.update(number)
                    targets.update(number)
                any_ = True
        return any_

    def _source(self, kind: DesiredDyno, number: int) -> tuple[float, ...] | None:
        """The order of the servers of a zone to take a dyno from when its type is spread; None if none can be taken."""
        return (-self._left(kind, number), -self._load(number)) if self.count[(kind, number)] > 0 else None

    def _target(self, kind: DesiredDyno, number: int) -> tuple[float, ...] | None:
        """The order of the servers of a zone to give a dyno to when its type is spread; None if it does not fit."""
        fits = self.layout.fits(kind.cpu, number)
        return (self._share(kind, number), self._load(number, kind.cpu)) if fits else None

    def _make(self, move: _Move) -> None:
        for number, count in ((move.source, -1), (move.target, 1)):
            self.layout.settle(move.kind, number, count)
            self.count[(move.kind, number)] += count

    def _zone(self, kind: DesiredDyno, source: int, target: int) -> int:
        """How much less evenly a type is spread over the zones after a move; negative if more."""
        of, to = self.zones[source], self.zones[target]
        return 0 if of == to else self.layout.in_zone[(kind.type, to)] + 1 - self.layout.in_zone[(kind.type, of)]

    def _left(self, kind: DesiredDyno, number: int) -> float:
        """The dynos of a type on a server without one of them, in proportion to its size."""
        return (self.layout.here[(kind.type, number)] - 1) / self.rooms[number]

    def _share(self, kind: DesiredDyno, number: int) -> float:
        return self.layout.here[(kind.type, number)] / self.rooms[number]

    def _load(self, number: int, cpu: int = 0) -> float:
        return (self.layout.load[number] + cpu) / self.rooms[number]

    def _sources(self, kind: DesiredDyno) -> list[int]:
        return [number for number in self.fitting[kind] if self.count[(kind, number)] > 0]

    def _targets(self, kind: DesiredDyno) -> list[int]:
        return [number for number in self.fitting[kind] if self.layout.fits(kind.cpu, number)]

    def _firsts(
        self, numbers: Iterable[int], group: Callable[[int], object], rank: Callable[[int], object]
    ) -> list[int]:
        """The server with the lowest rank of each group: the others are no better in any pair."""
        firsts: dict[object, tuple[object, int]] = {}
        for number in numbers:
            key, entry = group(number), (rank(number), number)
            if key not in firsts or entry < firsts[key]:
                firsts[key] = entry
        return [number for _, number in firsts.values()]

    def _spread_targets(self, kind: DesiredDyno) -> list[int]:
        return list(_Firsts(self.fitting[kind], self.zones, partial(self._target, kind)))

    def _worth(self, kind: DesiredDyno, source: int, target: int) -> tuple[float, float]:
        return self._zone(kind, source, target), self._share(kind, target) - self._left(kind, source)

    def _relieving(self, kind: DesiredDyno) -> Iterator[_Move]:
        """Moves away from a server that has more than it takes."""
        over = {number: self.layout.load[number] - self.servers[number].room for number in self._sources(kind)}
        over = {number: load for number, load in over.items() if load > 0 and kind.cpu}
        for target in self._spread_targets(kind) if over else ():
            for source, load in over.items():
                spread = self._worth(kind, source, target)
                worth = (-min(load, kind.cpu), max(spread[0], 0), *spread, kind.cpu, source, target)
                yield _Move(worth, kind, source, target)

    def _spreading(self, kind: DesiredDyno, sources: Iterable[int], targets: Iterable[int]) -> Iterator[_Move]:
        """Moves that spread a type better over the zones or the servers."""
        targets = list(targets)
        for source in sources:
            for target in targets:
                spread = self._worth(kind, source, target)
                if spread < (0, 0):
                    yield _Move(
                        (*spread, -self._load(source), self._load(target), source, target), kind, source, target
                    )

    def _levelling(self, kind: DesiredDyno) -> Iterator[_Move]:
        """Moves that make the fuller one of two servers less full, and spread the type as well as it is."""
        sources = self._firsts(
            self._sources(kind),
            lambda number: (self.zones[number], self._left(kind, number)),
            lambda number: -self._load(number),
        )
        targets = self._firsts(
            self._targets(kind),
            lambda number: (self.zones[number], self._share(kind, number)),
            lambda number: self._load(number, kind.cpu),
        )
        for source in sources:
            for target in targets:
                full = self._load(source)
                if self._worth(kind, source, target) == (0, 0) and self._load(target, kind.cpu) < full:
                    after = max(self._load(source, -kind.cpu), self._load(target, kind.cpu))
                    yield _Move((-full, after, self._load(target), source, target), kind, source, target)


class _Firsts:
    """The server with the lowest rank of each zone, while a few ranks change: the others are no better in any pair."""

    def __init__(
        self, numbers: Iterable[int], zones: Sequence[str], rank: Callable[[int], tuple[float, ...] | None]
    ) -> None:
        self._zones, self._rank = zones, rank
        self._heaps: dict[str, list[tuple[tuple[float, ...], int]]] = {}
        for number in numbers:
            if (ranked := rank(number)) is not None:
                self._heaps.setdefault(zones[number], []).append((ranked, number))
        for heap in self._heaps.values():
            heapq.heapify(heap)

    def update(self, number: int) -> None:
        """The rank of a server has changed. What it was before stays in its heap until it comes first."""
        if (ranked := self._rank(number)) is not None:
            heapq.heappush(self._heaps.setdefault(self._zones[number], []), (ranked, number))

    def __iter__(self) -> Iterator[int]:
        for heap in self._heaps.values():
            while heap and heap[0][0] != self._rank(heap[0][1]):
                heapq.heappop(heap)
            if heap:
                yield heap[0][1]
