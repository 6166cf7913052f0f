"""Rollouts over more than a hundred servers: shares, waves, servers that die in the middle, and work that only grows with
the number of servers."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from infra.errors import ERROR, OK, REJECTED, UNREACHABLE
from infra.manifest.model import Rollout, Server
from infra.model.events import Event, Report
from infra.model.paths import home
from tests.simulation.faults import Kind
from tests.simulation.harness import APP, Outcome, Simulation, manifest
from tests.simulation.invariants import upstreams

SERVERS = 120
RACKS = 4
FLEET = tuple(
    Server(f"s{number}", f"s{number}", labels={"rack": f"r{number % RACKS}"}) for number in range(1, SERVERS + 1)
)


@pytest.fixture
def fleet() -> Simulation:
    """A dyno of release "a" on each server."""
    made = Simulation(*(server.host for server in FLEET))
    assert made.apply(wanted("a")).code == OK
    return made


def wanted(slug: str, **rollout: Any) -> Any:
    return manifest(*FLEET, web=SERVERS, slug=slug, rollout=Rollout(**rollout))


def report(outcome: Outcome) -> Report:
    assert outcome.report is not None
    return outcome.report


def releases(fleet: Simulation) -> Counter[str]:
    """How many dynos run each release, on servers that are up."""
    running = (process for server in fleet.fleet.servers.values() for process in server.processes.values())
    return Counter(bytes.fromhex(process.release.slug[:2]).decode() for process in running)


def record(fleet: Simulation, number: int) -> Any:
    host = next(host for host, server in fleet.fleet.servers.items() if server.up)
    return json.loads(fleet[host].files[f"{home(APP)}/releases/{number}.json"])


@pytest.mark.parametrize("seed", range(3))
def test_servers_that_die_within_the_budget_cost_only_their_dynos(fleet: Simulation, seed: int) -> None:
    victims = random.Random(seed).sample(range(1, SERVERS + 1), 2)  # 2% of 120, rounded down
    for number in victims:
        fleet.fault(f"sim start dyno-{APP}-web-{number}", Kind.OFF, host=home_of(fleet, number))
    outcome = fleet.apply(wanted("b", max_parallel="10%", max_failures="2%"))
    assert outcome.code == UNREACHABLE and not report(outcome).halted and report(outcome).stands
    assert releases(fleet) == {"b": SERVERS - 2}
    assert sorted(report(outcome).tolerated) == sorted(f"web.{number}" for number in victims)
    assert record(fleet, 2)["result"] == "ok", "the release stands: more dynos of it may be started"
    for server in fleet.fleet.servers.values():
        if not server.powered:
            server.boot_up()
    assert fleet.apply(wanted("b", max_parallel="10%", max_failures="2%")).code == OK
    assert releases(fleet) == {"b": SERVERS}


@pytest.mark.parametrize("seed", range(3))
def test_one_server_more_than_the_budget_stops_the_rollout(fleet: Simulation, seed: int) -> None:
    victims = random.Random(seed).sample(range(1, SERVERS + 1), 3)
    for number in victims:
        fleet.fault(f"sim start dyno-{APP}-web-{number}", Kind.OFF, host=home_of(fleet, number))
    outcome = fleet.apply(wanted("b", max_parallel="10%", max_failures="2%"))
    assert outcome.code == UNREACHABLE and report(outcome).halted
    assert releases(fleet) == {"a": SERVERS - 3}, "what had moved was reverted"


def test_without_a_budget_a_dead_server_is_like_one_that_was_unreachable_before(fleet: Simulation) -> None:
    fleet.fault(f"sim start dyno-{APP}-web-7", Kind.OFF, host=home_of(fleet, 7))
    outcome = fleet.apply(wanted("b", max_parallel="10%"))
    assert outcome.code == UNREACHABLE and not report(outcome).halted and not report(outcome).tolerated
    assert releases(fleet) == {"b": SERVERS - 1}


def test_dynos_that_fail_and_servers_that_die_share_the_budget(fleet: Simulation) -> None:
    fleet.fault(f"sim start dyno-{APP}-web-3", Kind.FAIL, host=home_of(fleet, 3))
    fleet.fault(f"sim start dyno-{APP}-web-50", Kind.OFF, host=home_of(fleet, 50))
    outcome = fleet.apply(wanted("b", max_parallel="10%", max_failures=2))
    assert report(outcome).stands and report(outcome).tolerated == ["web.3", "web.50"]
    fleet.fault(f"sim start dyno-{APP}-web-90", Kind.FAIL, host=home_of(fleet, 90))
    fleet.fault(f"sim start dyno-{APP}-web-100", Kind.FAIL, host=home_of(fleet, 100))
    outcome = fleet.apply(wanted("a", max_parallel="10%", max_failures=1))
    assert report(outcome).halted


def test_waves_stop_at_the_rack_in_which_the_budget_ends(fleet: Simulation) -> None:
    racks = {server.name: server.labels["rack"] for server in FLEET}
    order = list(dict.fromkeys(racks.values()))
    second = [number for number in range(1, SERVERS + 1) if racks[home_of(fleet, number)] == order[1]]
    for number in second[:3]:
        fleet.fault(f"sim start dyno-{APP}-web-{number}", Kind.OFF, host=home_of(fleet, number))
    started: list[str] = []
    fleet.fleet.watch.append(lambda what, server, _: started.append(server.host) if what == "started" else None)
    outcome = fleet.apply(wanted("b", max_parallel="10%", max_failures="2%", by="rack", pause=300, auto_revert=False))
    assert report(outcome).halted
    assert {racks[host] for host in started} == set(order[:2]), "the other racks are never touched"
    assert [event.text for event in outcome.events if event.kind == "note"] == [f"wait 300 s before rack {order[1]}"]


def paused(event: Event) -> bool:
    return event.kind == "wait"


def test_ctrl_c_in_a_pause_keeps_the_racks_that_moved_and_the_next_apply_goes_on(fleet: Simulation) -> None:
    options = {"max_parallel": "10%", "max_failures": "2%", "by": "rack", "pause": 300}
    outcome = fleet.apply(wanted("b", **options), stop=paused)
    assert outcome.code == ERROR and report(outcome).interrupted and not report(outcome).halted
    assert releases(fleet) == {"b": SERVERS // RACKS, "a": SERVERS - SERVERS // RACKS}
    assert fleet.apply(wanted("b", **options)).code == OK
    assert releases(fleet) == {"b": SERVERS}


def test_dynos_that_die_in_a_pause_stop_the_rollout_if_they_are_more_than_may(fleet: Simulation) -> None:
    racks = {server.name: server.labels["rack"] for server in FLEET}
    first = [number for number in range(1, SERVERS + 1) if racks[home_of(fleet, number)] == FLEET[0].labels["rack"]]

    def die(many: int) -> Callable[[Event], bool]:
        dying = first[:many]

        def strike(event: Event) -> bool:
            while event.kind == "wait" and dying:
                number = dying.pop()
                fleet[home_of(fleet, number)].stop(f"dyno-{APP}-web-{number}")
            return False

        return strike

    options = {"max_parallel": "10%", "max_failures": "2%", "by": "rack", "pause": 300}
    outcome = fleet.apply(wanted("b", **options), stop=die(3))
    assert outcome.code == REJECTED and report(outcome).halted, report(outcome)
    assert releases(fleet)["b"] == 0
    assert fleet.apply(wanted("a", **options)).code == OK
    outcome = fleet.apply(wanted("c", **options), stop=die(2))
    assert outcome.code == ERROR and report(outcome).tolerated == sorted(f"web.{n}" for n in first[:2])
    assert releases(fleet)["c"] >= SERVERS - 2


@pytest.mark.parametrize("servers", [1, 2, 3])
@pytest.mark.parametrize("web", [1, 2, 7, 15])
def test_shares_and_waves_of_few_servers_and_odd_numbers(servers: int, web: int) -> None:
    few = [Server(f"s{number}", f"s{number}", labels={"rack": f"r{number}"}) for number in range(1, servers + 1)]
    made = Simulation(*(server.host for server in few))
    rollout = Rollout(max_parallel="10%", max_failures="10%", by="rack", pause=5, canary=2)
    for slug in ("a", "b"):
        outcome = made.apply(manifest(*few, web=web, slug=slug, rollout=rollout))
        assert outcome.code == OK, outcome.said
    plan = outcome.plan
    assert plan is not None and plan.max_failures == web // 10
    assert sorted(dyno for batch in plan.batches for dyno in batch) == sorted(f"web.{n}" for n in range(1, web + 1))
    assert all(len({plan.formation.homes[dyno] for dyno in batch}) == 1 for batch in plan.batches)
    assert all(len(batch) == 1 for batch in plan.batches[1:]) and 1 <= len(plan.batches[0]) <= 2
    assert sum(count for _, count in plan.waves) == len(plan.batches)
    assert [value for value, _ in plan.waves] == [f"r{number}" for number in range(1, min(servers, web) + 1)]


@pytest.mark.parametrize(
    ("parallel", "batches"),
    [("10%", 10), ("100%", 1), ("1%", 120), (50, 3)],  # 1% of 120 is 1.2, rounded down
)
def test_a_share_is_rounded_down_and_at_least_one(fleet: Simulation, parallel: int | str, batches: int) -> None:
    outcome = fleet.apply(wanted("b", max_parallel=parallel))
    assert outcome.code == OK and outcome.plan is not None and len(outcome.plan.batches) == batches


def test_a_share_of_failures_is_rounded_down_to_none(fleet: Simulation) -> None:
    fleet.fault(f"sim start dyno-{APP}-web-9", Kind.FAIL, host=home_of(fleet, 9))
    outcome = fleet.apply(wanted("b", max_parallel="10%", max_failures="0%"))
    assert outcome.code == REJECTED and outcome.plan is not None and outcome.plan.max_failures == 0
    assert releases(fleet) == {"a": SERVERS}


@pytest.mark.parametrize("budget", [0, 3])
def test_what_moved_to_a_server_that_died_is_kept_where_it_runs(budget: int) -> None:
    fleet = Simulation("s1", "s2", "r")

    def moved(drained: str) -> Any:
        servers = (*(Server(name, name, drain=name == drained) for name in ("s1", "s2")), Server("r", "r", dynos=False))
        return manifest(*servers, web=3, router=["r"], rollout=Rollout(max_failures=budget))

    assert fleet.apply(moved("s2")).code == OK
    fleet.fault(f"sim start dyno-{APP}-web-3", Kind.OFF, host="s2")
    outcome = fleet.apply(moved("s1"))
    assert outcome.code == UNREACHABLE and not report(outcome).halted
    assert releases(fleet) == {"a": 3}, "web.1 and web.2 were up on s2 before it died"
    assert {one.partition(":")[0] for one in upstreams(fleet["r"]).values()} == {fleet["s1"].address}
    fleet["s2"].boot_up()
    assert fleet.apply(moved("s1")).code == OK
    assert len(fleet["s2"].processes) == 3 and not fleet["s1"].processes and fleet.pending(moved("s1")) == []


def home_of(fleet: Simulation, number: int) -> str:
    unit = f"dyno-{APP}-web-{number}"
    return next(host for host, server in fleet.fleet.servers.items() if unit in server.processes)


# The work grows with the number of servers, and not with its square. Calls are counted, as a time would depend on what
# else the machine does.

FEW, MANY = 30, 120
GROWTH = 1.05
"""How many times as many calls for each server there may be with ``MANY`` as with ``FEW``."""


def calls(work: Callable[[], object]) -> int:
    """How many functions are called."""
    count = 0

    def called(_frame: object, what: str, _argument: object) -> None:
        nonlocal count
        count += what in ("call", "c_call")

    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def each(size: int, *, fails: bool) -> float:
    """Calls for each server of a rollout over ``size`` servers; if it ``fails``, with its revert."""
    names = [f"s{number}" for number in range(1, size + 1)]
    fleet = Simulation(*names)
    assert fleet.apply(manifest(*names, web=2 * size)).code == OK
    if fails:
        last = f"dyno-{APP}-web-{2 * size}"
        fleet.fault(f"sim start {last}", Kind.FAIL)
    new = manifest(*names, web=2 * size, slug="b", rollout=Rollout("10%"))
    outcomes: list[Outcome] = []
    count = calls(lambda: outcomes.append(fleet.apply(new)))
    assert outcomes[0].code == (REJECTED if fails else OK)
    return count / size


@pytest.mark.parametrize("fails", [False, True])
def test_a_rollout_does_not_grow_with_the_square(fails: bool) -> None:
    assert each(MANY, fails=fails) <= GROWTH * each(FEW, fails=fails)
