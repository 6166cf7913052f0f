"""The records say where the dynos are, also those that nobody wants any more and those of an apply that failed."""

from __future__ import annotations

from collections import Counter

import pytest

from infra.errors import OK, REJECTED, UNREACHABLE
from infra.plan.selection import Selection
from tests.simulation.app import BAD, deployed, running
from tests.simulation.as_running import act, go_back
from tests.simulation.faults import Kind
from tests.simulation.harness import Simulation, manifest

ALL = ("s1", "s2", "s3")


def server_of(fleet: Simulation, dyno: str) -> str:
    (host,) = (host for host in fleet.fleet.servers if any(one.dyno == dyno for one in dynos_on(fleet, host)))
    return host


def dynos_on(fleet: Simulation, host: str):  # type: ignore[no-untyped-def]
    return fleet[host].processes.values()


def twice(fleet: Simulation) -> list[str]:
    counted = Counter(one.dyno for host in fleet.fleet.servers for one in dynos_on(fleet, host))
    return [dyno for dyno, count in counted.items() if count > 1]


def test_a_dyno_that_was_to_leave_a_server_that_is_away_is_not_started_elsewhere() -> None:
    """Nobody remembered it once it was not wanted: it ran twice when it was wanted again."""
    fleet = deployed(web=1, worker=4)
    host = server_of(fleet, "worker.4")
    fleet[host].connected = False
    for workers in (2, 3, 4):
        assert fleet.apply(manifest(web=1, worker=workers)).code == UNREACHABLE
    assert twice(fleet) == []
    fleet[host].connected = True
    assert fleet.apply(manifest(web=1, worker=4)).code == OK
    assert twice(fleet) == [] and len(running(fleet)) == 5 and fleet.pending(manifest(web=1, worker=4)) == []


def test_it_starts_elsewhere_if_that_server_is_given_up() -> None:
    fleet = deployed(web=1, worker=4)
    host = server_of(fleet, "worker.4")
    fleet[host].shut_down()
    assert fleet.apply(manifest(web=1, worker=2)).code == UNREACHABLE
    assert fleet.apply(manifest(web=1, worker=2), evacuate=frozenset({host})).code == OK
    assert fleet.apply(manifest(web=1, worker=4)).code == UNREACHABLE
    assert len(running(fleet)) == 5


@pytest.mark.parametrize("how", ["reverted", "rejected", "killed"])
def test_a_dyno_whose_removal_did_not_come_about_is_not_started_elsewhere(how: str) -> None:
    fleet = deployed(web=1, worker=4)
    host = server_of(fleet, "worker.4")
    if how == "killed":
        fleet.fault("sim stop", Kind.KILL_BEFORE)
    (fleet.fleet.crashing if how == "reverted" else fleet.fleet.bad).add(BAD)
    fleet.apply(manifest(web=1, worker=2, slug="a" if how == "killed" else "bad"))
    assert server_of(fleet, "worker.4") == host
    fleet[host].connected = False
    assert fleet.apply(manifest(web=1, worker=4)).code == UNREACHABLE
    assert twice(fleet) == []


def test_a_schedule_whose_removal_did_not_come_about_is_not_started_elsewhere() -> None:
    fleet = deployed(web=1, schedule=True)
    (host,) = (host for host in ("s1", "s2") if fleet[host].timers)
    fleet.fleet.crashing.add(BAD)
    assert fleet.apply(manifest(web=1, slug="bad")).code == REJECTED
    fleet[host].connected = False
    assert fleet.apply(manifest(web=1, schedule=True)).code == UNREACHABLE
    assert sum(len(fleet[one].timers) for one in ("s1", "s2")) == 1


@pytest.mark.parametrize("how", ["reverted", "rejected"])
def test_a_dyno_that_a_failed_release_did_not_start_is_not_waited_for(how: str) -> None:
    """It kept the server that it was to start on, and was not started while that was away."""
    fleet = deployed(*ALL, web=2)
    (fleet.fleet.crashing if how == "reverted" else fleet.fleet.bad).add(BAD)
    assert fleet.apply(manifest(*ALL, web=4, slug="bad")).code == REJECTED
    fleet["s3"].connected = False
    assert fleet.apply(manifest(*ALL, web=4, slug="b")).code == UNREACHABLE
    assert running(fleet) == dict.fromkeys(("web.1", "web.2", "web.3", "web.4"), "b")


@pytest.mark.parametrize("count", [1, 4])
def test_a_rollback_keeps_the_numbers_if_those_of_a_failed_release_went_back(count: int) -> None:
    """They came back with the next rollback, as those of the last apply."""
    fleet = deployed(*ALL, web=2)
    assert fleet.apply(manifest(*ALL, web=2, slug="b")).code == OK
    fleet.fleet.crashing.add(BAD)
    assert fleet.apply(manifest(*ALL, web=count, slug="bad")).code == REJECTED
    assert go_back(fleet, manifest(*ALL, web=count, slug="bad")).code == OK
    assert running(fleet) == {"web.1": "a", "web.2": "a"}


def test_an_evacuation_starts_no_more_dynos_than_ran() -> None:
    fleet = deployed(*ALL, web=2)
    fleet.fleet.crashing.add(BAD)
    tree = manifest(*ALL, web=4, slug="bad")
    assert fleet.apply(tree).code == REJECTED
    host = server_of(fleet, "web.2")
    fleet[host].shut_down()
    trust = frozenset(name for name, server in fleet.fleet.servers.items() if server.processes) - {
        host
    }  # one server has the image, and this computer has no cache
    assert act(fleet, tree, evacuate=frozenset({host}), trust=trust).code == OK
    assert sorted(running(fleet)) == ["web.1", "web.2"]


def test_a_rollback_starts_no_dynos_that_were_not_selected() -> None:
    fleet = deployed(*ALL, web=2, worker=1)
    assert fleet.apply(manifest(*ALL, web=2, worker=1, slug="b")).code == OK
    tree = manifest(*ALL, web=4, worker=2, slug="b")
    assert fleet.apply(tree, selection=Selection(("worker",))).code == OK
    assert go_back(fleet, tree).code == OK
    assert running(fleet) == dict.fromkeys(("web.1", "web.2", "worker.1", "worker.2"), "a")
