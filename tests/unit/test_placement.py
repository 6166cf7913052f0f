"""Placement is deterministic and fast, and moves no dyno that can stay."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import pytest

from infra.manifest.model import Rollout
from infra.plan.batches import batches, canary_notes, waves
from infra.plan.placement import DesiredDyno, ServerCapacity, place


def dynos(count: int, cpu: int = 250) -> list[DesiredDyno]:
    return [DesiredDyno(f"web.{number}", cpu) for number in range(1, count + 1)]


def places(count: int, cores: int = 1, **keys: int) -> list[ServerCapacity]:
    return [ServerCapacity(f"grid-{number}", cores, **keys) for number in range(1, count + 1)]


def test_four_dynos_are_one_core() -> None:
    placed = place(dynos(9), places(2), {})
    assert Counter(placed.homes.values()) == {"grid-1": 4, "grid-2": 4}
    assert (placed.homeless, placed.missing) == (("web.9",), 250)


def test_new_dynos_go_to_servers_without_their_type_then_to_the_least_loaded() -> None:
    spots = [ServerCapacity("busy", 2, used=1000), ServerCapacity("idle", 2), ServerCapacity("small", 1)]
    placed = place(dynos(5), spots, {})
    assert list(placed.homes.values()) == ["idle", "small", "busy", "idle", "busy"]


@pytest.mark.parametrize(
    "others",
    [[("clock.1", 250)], [("clock.1", 500)], [("a.1", 250), ("b.1", 500), ("c.1", 250)]],
    ids=["equal load", "higher load", "several"],
)
def test_a_type_is_spread_over_the_servers_first(others: list[tuple[str, int]]) -> None:
    """Two dynos of a type are not on one server while another one with capacity has none."""
    placed = place([*(DesiredDyno(*other) for other in others), *dynos(2)], places(2), {})
    assert placed.homes["web.1"] != placed.homes["web.2"]


def test_single_dynos_of_many_types_are_spread_over_zones_and_servers() -> None:
    """As many schedules, also those that reserve nothing."""
    spots = [ServerCapacity(f"{zone}{number}", 4, zone=zone) for zone in "ab" for number in (1, 2)]
    for cpu in (0, 250):
        placed = place([DesiredDyno(f"job{number}.1", cpu) for number in range(8)], spots, {})
        assert Counter(placed.homes.values()) == {"a1": 2, "a2": 2, "b1": 2, "b2": 2}


def test_a_dyno_without_a_quota_fits_on_a_full_server() -> None:
    placed = place([DesiredDyno("nightly.1", 0)], [ServerCapacity("full", 1, used=4000)], {})
    assert placed.homes == {"nightly.1": "full"}


def test_labels_decide_before_load_and_move_what_runs_without_them() -> None:
    ssd = frozenset({("disk", "ssd")})
    spots = [ServerCapacity("plain", 4), ServerCapacity("fast", 1, labels=ssd | {("rack", "a")})]
    wanted = [DesiredDyno(f"web.{number}", 250, ssd) for number in range(1, 6)]
    placed = place(wanted, spots, {"web.1": ("plain", 250), "web.2": ("fast", 250)})
    assert placed.homes == {f"web.{number}": "fast" for number in range(1, 5)}
    assert (placed.homeless, placed.missing) == (("web.5",), 250)


def test_dynos_with_labels_come_first_as_they_have_less_choice() -> None:
    ssd = frozenset({("disk", "ssd")})
    wanted = [*dynos(5), DesiredDyno("worker.1", 500, ssd)]
    placed = place(wanted, [ServerCapacity("fast", 1, labels=ssd), ServerCapacity("plain", 1)], {})
    assert placed.homeless == () and placed.homes["worker.1"] == "fast"


def test_an_overcommit_makes_room() -> None:
    placed = place(dynos(7), [ServerCapacity("one", 1, per_core=1500)], {})
    assert (len(placed.homes), placed.homeless) == (6, ("web.7",))


def test_running_dynos_stay() -> None:
    running = {f"web.{number}": ("grid-3", 250) for number in (1, 2, 3)}
    placed = place(dynos(5), places(3), running)
    assert [placed.homes[f"web.{number}"] for number in range(1, 6)] == ["grid-3"] * 3 + ["grid-1", "grid-2"]


def test_a_dyno_stays_on_an_overloaded_server() -> None:
    running = {"web.1": ("grid-1", 250)}
    placed = place(dynos(1), [ServerCapacity("grid-1", 1, used=4000), ServerCapacity("grid-2", 1)], running)
    assert placed.homes == {"web.1": "grid-1"}


def test_a_dyno_that_grows_out_of_its_server_moves() -> None:
    running = {"web.1": ("grid-1", 250), "web.2": ("grid-1", 250)}
    placed = place(dynos(2, cpu=750), places(2), running)
    assert placed.homes == {"web.1": "grid-1", "web.2": "grid-2"}


def test_a_dyno_of_an_unreachable_server_keeps_its_number_and_server() -> None:
    placed = place(dynos(3), places(1), {}, reserved={"web.2": "dead"})
    assert placed.homes == {"web.1": "grid-1", "web.2": "dead", "web.3": "grid-1"}


def test_a_dyno_of_a_server_that_left_moves() -> None:
    placed = place(dynos(2), places(1), {"web.1": ("gone", 250), "web.2": ("grid-1", 250)})
    assert placed.homes == {"web.1": "grid-1", "web.2": "grid-1"}


def test_spread_takes_precedence_over_load() -> None:
    spots = [
        ServerCapacity("a1", 4, zone="a"),
        ServerCapacity("a2", 4, zone="a"),
        ServerCapacity("b1", 1, used=500, zone="b"),
    ]
    placed = place(dynos(4), spots, {})
    zones = Counter(home[0] for home in placed.homes.values())
    assert zones == {"a": 2, "b": 2}
    full = place(dynos(8), spots, {})
    assert Counter(home[0] for home in full.homes.values()) == {"a": 6, "b": 2}, "a zone that is full is passed over"


def test_it_is_deterministic() -> None:
    assert place(dynos(50), places(7, cores=4), {}) == place(dynos(50), places(7, cores=4), {})


def test_dynos_of_different_sizes_share_a_heap() -> None:
    wanted = [
        DesiredDyno("web.1", 900),
        DesiredDyno("web.2", 100),
        DesiredDyno("web.3", 800),
        DesiredDyno("web.4", 100),
    ]
    placed = place(wanted, places(2), {})
    assert placed.homeless == ()
    assert placed.homes == {"web.1": "grid-1", "web.2": "grid-2", "web.3": "grid-2", "web.4": "grid-1"}


def test_ten_thousand_dynos_on_a_thousand_servers() -> None:
    spots = [ServerCapacity(f"s{number}", 4, zone=f"rack-{number % 20}") for number in range(1000)]
    running = {f"web.{number}": (f"s{number % 1000}", 250) for number in range(1, 5001)}
    began = time.perf_counter()
    placed = place(dynos(10_000), spots, running)
    spent = time.perf_counter() - began
    assert len(placed.homes) == 10_000
    assert max(Counter(placed.homes.values()).values()) <= 16
    print(f"placed 10,000 dynos on 1,000 servers in {spent:.3f} s")  # the benchmark holds the bound


@pytest.mark.parametrize(
    ("count", "rollout", "sizes"),
    [
        (4, {}, [1, 1, 1, 1]),
        (5, {"max_parallel": 2}, [2, 2, 1]),
        (5, {"max_parallel": 2, "canary": 1}, [1, 2, 2]),
        (8, {"max_parallel": "25%"}, [2, 2, 2, 2]),
        (3, {"max_parallel": "25%"}, [1, 1, 1]),
        (3, {"max_parallel": "100%", "canary": 5}, [3]),
        (0, {"canary": 1}, []),
        (2, {"max_parallel": 9}, [2]),
    ],
)
def test_the_batches_of_a_rollout(count: int, rollout: dict[str, int | str], sizes: list[int]) -> None:
    dynos = [f"web.{number}" for number in range(1, count + 1)]
    made = batches(dynos, Rollout(**rollout), {})  # type: ignore[arg-type]
    assert [len(batch) for batch in made] == sizes
    assert [dyno for batch in made for dyno in batch] == dynos
    assert waves(made, {}) == ()


def test_no_batch_of_a_rollout_is_in_two_waves() -> None:
    values = {"web.2": "north", "web.4": "north", "web.1": "south", "web.3": "south", "web.5": "south"}
    dynos = sorted(values)
    made = batches(dynos, Rollout(by="row", max_parallel=2, canary=1), values)
    assert made == (("web.2",), ("web.4",), ("web.1", "web.3"), ("web.5",))
    assert waves(made, values) == (("north", 2), ("south", 2))
    assert batches(dynos, Rollout(by="row", canary=3), values)[0] == ("web.2", "web.4"), "canaries are of one wave"


@pytest.mark.parametrize(
    ("canary", "value", "note"),
    [
        (0, "north", ""),
        (1, "north", ""),
        (2, "north", "the canary is 1 dyno, not 2 as rollout.canary says: the first wave, row north, has only 1 dyno"),
        (
            9,
            "",
            "the canary is 1 dyno, not 9 as rollout.canary says: the first wave, the servers without the label row",
        ),
    ],
)
def test_a_canary_that_the_first_wave_makes_smaller_is_noted(canary: int, value: str, note: str) -> None:
    """Who asked for 3 canaries and gets 1 is told before the rollout, not by what it breaks."""
    values = {"web.2": value, "web.1": "south", "web.3": "south"}
    rollout = Rollout(by="row", canary=canary)
    notes = canary_notes(batches(sorted(values), rollout, values), rollout, values)
    assert [text[: len(note)] for text in notes] == ([note] if note else [])
    alone = {"web.1": "north"}
    assert canary_notes(batches(["web.1"], rollout, alone), rollout, alone) == [], "all that restarts is the canary"
    assert canary_notes(batches(sorted(values), replace(rollout, by=""), {}), replace(rollout, by=""), {}) == []
