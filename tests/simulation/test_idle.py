"""An idle dyno is neither down nor changed, is not started to be restarted, and wakes to the release that it should run."""

from __future__ import annotations

from infra.errors import OK, REJECTED
from infra.manifest.model import Rollout
from tests.simulation.app import BAD, deployed, report, running
from tests.simulation.harness import Simulation, manifest

FIRST, SECOND = "dyno-shop-web-1", "dyno-shop-web-2"


def resting(*units: str) -> Simulation:
    """A fleet with a dyno on each server, of which some are idle."""
    fleet = deployed()
    for unit in units:
        fleet[host(unit)].rest(unit)
    return fleet


def host(unit: str) -> str:
    return f"s{unit[-1]}"


def woken(fleet: Simulation, unit: str) -> str:
    """What a dyno runs after its next request."""
    fleet[host(unit)].start(unit)
    return running(fleet)[f"web.{unit[-1]}"]


def test_idle_is_no_change() -> None:
    fleet = resting(SECOND)
    assert fleet.pending(manifest()) == []
    assert fleet.restart(manifest()).code == OK
    assert running(fleet) == {"web.1": "a"}


def test_a_plan_is_not_stale_because_a_dyno_is_idle_or_woken() -> None:
    fleet = resting(SECOND)

    def between() -> None:
        fleet["s1"].rest(FIRST)
        fleet["s2"].start(SECOND)

    assert fleet.apply(manifest(slug="b"), before=between).code == OK
    assert running(fleet) == {"web.2": "b"}
    assert woken(fleet, FIRST) == "b"


def test_a_rollout_leaves_an_idle_dyno_idle_and_it_wakes_to_the_new_release() -> None:
    fleet = resting(SECOND)
    outcome = fleet.apply(manifest(slug="b", rollout=Rollout(min_healthy_time=30)))
    assert outcome.code == OK
    assert outcome.plan is not None and outcome.plan.candidates == ("s1", "s2")
    assert running(fleet) == {"web.1": "b"}
    assert fleet.pending(manifest(slug="b", rollout=Rollout(min_healthy_time=30))) == []
    assert woken(fleet, SECOND) == "b"


def test_after_a_release_that_failed_it_wakes_to_the_old_one() -> None:
    fleet = resting(FIRST)
    fleet.fleet.crashing.add(BAD)
    outcome = fleet.apply(manifest(slug="bad"))
    assert outcome.code == REJECTED and sorted(report(outcome).reverted) == ["web.1", "web.2"]
    assert running(fleet) == {"web.2": "a"}
    assert woken(fleet, FIRST) == "a"


def test_a_release_that_nobody_uses_is_proven_by_its_candidates() -> None:
    fleet = resting(FIRST, SECOND)
    fleet.fleet.bad.add(BAD)
    assert fleet.apply(manifest(slug="bad")).code == REJECTED
    assert (running(fleet), woken(fleet, FIRST)) == ({}, "a")


def test_what_is_left_idle_is_not_called_restarted() -> None:
    fleet = resting(SECOND)
    for outcome in (fleet.restart(manifest()), fleet.apply(manifest(slug="b"))):
        done = {
            event.subject: event.text for event in outcome.events if event.kind == "done" and "web" in event.subject
        }
        assert done == {"web.1": "restarted", "web.2": "left idle"}
