"""A destroy while a server is gone for good: what it leaves is said, and --forget ends it without that server."""

from __future__ import annotations

import pytest

from infra.errors import ERROR, OK, UNREACHABLE
from infra.manifest.model import Server
from infra.views import plan_text
from infra.views.style import Style
from tests.simulation.app import deployed
from tests.simulation.harness import Outcome, Simulation, manifest
from tests.simulation.test_manifests import applied

ALL = manifest("s1", "s2", Server("s3", "s3", dynos=False), web=2, worker=1, router=["s3"])
FORGET = frozenset({"s3"})


def cut() -> Simulation:
    """Web dynos on s1 and s2, and their only router on s3, which is dead."""
    fleet = Simulation("s1", "s2", "s3")
    assert fleet.apply(ALL).code == OK
    fleet["s3"].connected = False
    return fleet


def notes(outcome: Outcome) -> list[str]:
    return [] if outcome.plan is None else list(outcome.plan.notes)


def empty(fleet: Simulation, *hosts: str) -> bool:
    return not any(fleet[host].files or fleet[host].processes for host in hosts)


def test_what_is_destroyed_is_not_said_to_be_missing_from_the_manifest() -> None:
    fleet = Simulation("s1", "s2", "s3")
    assert fleet.apply(ALL).code == OK
    changes = fleet.plan(ALL, destroy=True).plan.changes
    assert changes and {change.reason for change in changes} == {""}


def test_a_destroy_without_a_dead_router_ends() -> None:
    """It exited with 4 for good: its dynos were kept for a router that nobody could ask."""
    fleet = cut()
    outcome = fleet.destroy(ALL)
    assert outcome.code == UNREACHABLE and not empty(fleet, "s1", "s2")
    assert "nothing is removed from s3; if it is gone for good: dynoctl destroy --forget s3" in notes(outcome)
    outcome = fleet.destroy(ALL, forget=FORGET)
    assert outcome.code == OK and empty(fleet, "s1", "s2")
    assert notes(outcome) == [
        "s3 is given up, and nothing is removed from it; if it starts again, what it has of shop is still there, and "
        "dynoctl destroy removes it"
    ]
    assert fleet.destroy(ALL, forget=FORGET).code == OK, "it may be said again"
    fleet["s3"].connected = True
    assert fleet.destroy(ALL).code == OK and empty(fleet, "s1", "s2", "s3")


def test_only_silence_is_given_up() -> None:
    fleet = cut()
    fleet["s3"].connected = True
    outcome = fleet.destroy(ALL, forget=FORGET)
    assert outcome.code == ERROR and "cannot forget s3: reachable" in outcome.said
    assert "dynoctl destroy" in str(outcome.error and outcome.error.hint)
    fleet["s3"].refuses = "authentication failed"
    outcome = fleet.destroy(ALL)
    assert outcome.code == UNREACHABLE and not any("--forget" in note for note in notes(outcome))
    outcome = fleet.destroy(ALL, forget=FORGET)
    assert outcome.code == ERROR and "cannot forget s3: it answers, so what it has of shop may go on" in outcome.said
    assert not empty(fleet, "s1", "s2")
    assert fleet.destroy(ALL, forget=FORGET, force=True).code == OK and empty(fleet, "s1", "s2")
    outcome = fleet.destroy(ALL, forget=frozenset({"s7"}))
    assert outcome.code == ERROR and "cannot forget s7: no unreachable server of shop has this name" in outcome.said


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_server_that_left_and_is_gone(forgotten: bool) -> None:
    fleet = deployed("s1", "s2", "s3", web=3)
    fleet["s3"].connected = False
    fewer = manifest("s1", "s2", web=3)
    outcome = fleet.destroy(fewer, forget=FORGET if forgotten else frozenset())
    assert outcome.code == (OK if forgotten else UNREACHABLE)
    assert empty(fleet, "s1", "s2") is forgotten, "the records of the others know it"
    assert any("s3 is given up" in note if forgotten else "destroy --forget s3" in note for note in notes(outcome))


def test_a_server_that_only_this_computer_knows_is_said() -> None:
    """All servers were replaced in one edit: the destroy was complete, and nobody remembered the old ones."""
    fleet = applied("s1")
    fleet["s1"].connected = False
    wanted = manifest("s2", worker=2)
    for _ in range(2):
        outcome = fleet.destroy(wanted)
        assert outcome.code == OK
        (note,) = notes(outcome)
        assert "shop was applied from here to s1" in note and note.endswith("dynoctl destroy --forget s1")
    assert fleet.destroy(wanted, forget=frozenset({"s1"})).code == OK
    assert notes(fleet.destroy(wanted)) == []


def test_a_destroy_of_nothing_says_that_nothing_is_there() -> None:
    """It said that the servers match dyno.yaml, in which there are dynos."""
    fleet = deployed()
    assert fleet.destroy(manifest()).code == OK
    ready = fleet.plan(manifest(), destroy=True)
    ready.fleet.close()
    assert plan_text.render(ready.plan, {}, Style(False)) == "No changes. There is nothing of shop to destroy."
