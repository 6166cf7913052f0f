"""Random fleets: a rebalance makes the placement even with few moves, and an even placement stays as it is."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from infra.plan.balance import even
from infra.plan.placement import DesiredDyno, Labels, ServerCapacity, place

ROUNDS = 1500


def load_of(wanted: Sequence[DesiredDyno], homes: Mapping[str, str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for dyno in wanted:
        if dyno.name in homes:
            found[homes[dyno.name]] += dyno.cpu
    return found


def fleet(chance: random.Random, servers: int) -> list[ServerCapacity]:
    same, zones, labelled = chance.random() < 0.5, chance.random() < 0.3, chance.random() < 0.4
    return [
        ServerCapacity(
            f"s{number}",
            2 if same else chance.choice([1, 2, 4]),
            chance.choice([0, 0, 250, 1000]),
            chance.choice("ab") if zones else "",
            frozenset({("disk", chance.choice(["ssd", "hdd"]))}) if labelled else frozenset(),
            chance.choice([1000, 1500]) if same else 1000,
        )
        for number in range(servers)
    ]


def dynos(chance: random.Random, servers: Sequence[ServerCapacity], most: int) -> list[DesiredDyno]:
    wanted = []
    for type_ in chance.sample(["web", "worker", "clock", "nightly"], chance.randint(1, 4)):
        cpu, labels = chance.choice([0, 100, 250, 250, 500, 750]), frozenset[tuple[str, str]]()
        if chance.random() < 0.3:
            labels = chance.choice(servers).labels
        wanted += [DesiredDyno(f"{type_}.{number}", cpu, labels) for number in range(1, chance.randint(1, 6) + 1)]
    return wanted[:most]


def anywhere(
    chance: random.Random, wanted: Sequence[DesiredDyno], servers: Sequence[ServerCapacity]
) -> dict[str, str] | None:
    """A placement without an order that fits; None if none was found."""
    homes: dict[str, str] = {}
    load = {server.server: server.used for server in servers}
    for dyno in wanted:
        room = [
            server
            for server in servers
            if dyno.labels <= server.labels and (not dyno.cpu or load[server.server] + dyno.cpu <= server.room)
        ]
        if not room:
            return None
        homes[dyno.name] = chance.choice(room).server
        load[homes[dyno.name]] += dyno.cpu
    return homes


@pytest.mark.parametrize("seed", range(4))
def test_any_fleet(seed: int) -> None:
    chance = random.Random(seed)
    for round_ in range(ROUNDS // 4):
        servers = fleet(chance, chance.randint(1, 6))
        wanted = dynos(chance, servers, 20)
        homes = anywhere(chance, wanted, servers)
        if homes is None:
            continue
        bound = {name for name in homes if chance.random() < 0.1}
        where = f"round {round_}: {servers} {wanted} {homes} {bound}"
        made = even(wanted, servers, homes, homes, bound)
        assert made.keys() == homes.keys(), where
        assert made == even(wanted, servers, homes, homes, bound), where
        assert made == even(wanted, servers, made, made, bound), f"a second rebalance moves nothing; {where}"
        assert all(made[name] == homes[name] for name in bound), where
        by_name, load = {server.server: server for server in servers}, load_of(wanted, made)
        for server in servers:
            before = server.used + load_of(wanted, homes)[server.server]
            assert load[server.server] + server.used <= max(server.room, before), where
        assert all(dyno.labels <= by_name[made[dyno.name]].labels for dyno in wanted), where
        for type_, cpu, labels in {(dyno.type, dyno.cpu, dyno.labels) for dyno in wanted if not bound}:
            _is_spread(servers, wanted, made, (type_, cpu, labels), where)
        kept = place(wanted, servers, {name: (home, 10_000) for name, home in made.items()})
        assert kept.homes == made, f"an apply moves nothing afterwards; {where}"


def _is_spread(
    servers: Sequence[ServerCapacity],
    wanted: Sequence[DesiredDyno],
    made: Mapping[str, str],
    kind: tuple[str, int, Labels],
    where: str,
) -> None:
    """No server has two dynos more of a type than one that is as large, is in its zone and has capacity."""
    type_, cpu, labels = kind
    count = Counter(made[dyno.name] for dyno in wanted if dyno.type == type_)
    load = load_of(wanted, made)
    able = [server for server in servers if labels <= server.labels]
    for one, other in itertools.permutations(able, 2):
        fits = not cpu or load[other.server] + other.used + cpu <= other.room
        if one.room == other.room and one.zone == other.zone and fits:
            assert count[one.server] - count[other.server] < 2, f"{type_} on {one.server}, {other.server}; {where}"


def test_it_makes_the_fewest_moves() -> None:
    """Every smaller set of moves is tried on small fleets. One move more than needed is rare, and two never happen."""
    chance = random.Random(19)
    fewest = more = 0
    for _ in range(150):
        servers = fleet(chance, chance.randint(2, 3))
        wanted = dynos(chance, servers, 5)
        homes = anywhere(chance, wanted, servers)
        if homes is None:
            continue
        moves = sum(home != homes[name] for name, home in even(wanted, servers, homes, homes).items())
        best = next((count for count in range(moves) if _reachable(wanted, servers, homes, count)), moves)
        assert moves - best < 2
        fewest, more = fewest + (moves == best), more + (moves > best)
    assert fewest > 100 and more <= 2


def _reachable(
    wanted: Sequence[DesiredDyno], servers: Sequence[ServerCapacity], homes: Mapping[str, str], count: int
) -> bool:
    """Whether some number of moves makes the placement even."""
    for names in itertools.combinations(wanted, count):
        for targets in itertools.product(servers, repeat=count):
            made = {**homes, **{dyno.name: server.server for dyno, server in zip(names, targets, strict=True)}}
            load = load_of(wanted, made)
            fits = all(
                load[server.server] + server.used <= server.room or not load[server.server] for server in servers
            )
            labelled = all(dyno.labels <= server.labels for dyno, server in zip(names, targets, strict=True))
            if fits and labelled and even(wanted, servers, made, made) == made:
                return True
    return False


def test_a_server_that_comes_back_gets_its_share_of_every_type() -> None:
    servers = [ServerCapacity(f"s{number}", 4) for number in (1, 2, 3)]
    wanted = [DesiredDyno(f"{type_}.{number}", 250) for type_ in ("web", "worker") for number in range(1, 7)]
    homes = {dyno.name: f"s{1 + number % 2}" for number, dyno in enumerate(wanted)}
    made = even(wanted, servers, homes, homes)
    moved = {name for name in homes if made[name] != homes[name]}
    assert moved == {"web.5", "web.6", "worker.5", "worker.6"}, "the highest numbers, and no more than needed"
    assert Counter(made.values()) == {"s1": 4, "s2": 4, "s3": 4}


def test_an_overloaded_server_is_relieved_first() -> None:
    """Such as after the overcommit was lowered: with the fewest moves, even if a type is spread less well then."""
    servers = [ServerCapacity("full", 1), ServerCapacity("free", 4)]
    wanted = [DesiredDyno("web.1", 250), DesiredDyno("web.2", 250), DesiredDyno("big.1", 1000)]
    homes = {"web.1": "full", "web.2": "free", "big.1": "full"}
    assert even(wanted, servers, homes, homes) == {**homes, "big.1": "free"}


def test_a_fresh_placement_of_one_type_is_even() -> None:
    chance = random.Random(8)
    for _ in range(100):
        servers = fleet(chance, chance.randint(1, 6))
        wanted = [DesiredDyno(f"web.{number}", 250) for number in range(1, chance.randint(1, 20) + 1)]
        homes = place(wanted, servers, {}).homes
        assert even(wanted, servers, homes, homes) == homes, f"{servers} {homes}"
