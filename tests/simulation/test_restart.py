"""A restart restarts what runs, and says which dynos it does not restart, and why."""

from __future__ import annotations

from dataclasses import replace

from infra.errors import ERROR, OK
from infra.views.restart import render
from infra.views.style import Style
from tests.simulation.app import deployed
from tests.simulation.harness import Outcome, manifest
from tests.simulation.server import UNITS


def notes(outcome: Outcome) -> list[str]:
    return [] if outcome.plan is None else list(outcome.plan.notes)


def test_a_dyno_that_runs_nowhere_is_said() -> None:
    """Its server was installed anew: the restart said that all is well."""
    fleet = deployed("s1", "s2", web=2, schedule=True)
    (lost,) = {process.dyno for process in fleet["s2"].processes.values()}
    fleet.fleet.rebuild("s2")
    outcome = fleet.restart(manifest("s1", "s2", web=2, schedule=True))
    assert outcome.code == OK
    assert notes(outcome) == [f"{lost} is not on s2, where it was applied last; to start it: dynoctl apply"]
    assert outcome.plan is not None
    assert f"\nNote: {lost} is not on s2, where it was applied last; to start it: dynoctl apply." in render(
        outcome.plan, Style(False)
    )
    named = fleet.restart(manifest("s1", "s2", web=2, schedule=True), lost)
    assert named.code == ERROR
    assert named.said.startswith(f"cannot restart {lost}: {lost} is not on s2, where it was applied last; to start it:")
    fleet["s1"].stop("dyno-shop-web-1")
    fleet["s1"].remove(f"{UNITS}/dyno-shop-web-1.service")
    outcome = fleet.restart(manifest("s1", "s2", web=2, schedule=True))
    assert "web.1 is damaged on s1; to repair it: dynoctl apply" in notes(outcome)


def test_a_second_copy_of_a_dyno_is_said() -> None:
    """Its server came back after it was evacuated: the copy there went on with what it had."""
    fleet = deployed("s1", "s2", web=1, worker=2)
    moved = sorted(process.dyno for process in fleet["s2"].processes.values())
    fleet["s2"].connected = False
    assert fleet.apply(manifest("s1", "s2", web=1, worker=2), evacuate=frozenset({"s2"})).code != ERROR
    fleet["s2"].connected = True
    fleet["s2"].boot += 1
    pids = {process.unit: process.since for process in fleet["s2"].processes.values()}
    outcome = fleet.restart(manifest("s1", "s2", web=1, worker=2))
    assert outcome.code == OK
    assert notes(outcome) == [
        f"{dyno} is also on s2 and is not restarted there, as it belongs to s1; to remove it from s2: dynoctl apply"
        for dyno in moved
    ]
    assert {process.unit: process.since for process in fleet["s2"].processes.values()} == pids
    assert notes(fleet.restart(manifest("s1", "s2", web=1, worker=2), "web")) == [
        note for note in notes(outcome) if note.startswith("web")
    ]


def test_dynos_on_a_server_that_left_are_said() -> None:
    fleet = deployed("s1", "s2", web=2)
    (left,) = {process.dyno for process in fleet["s2"].processes.values()}
    outcome = fleet.restart(manifest("s1", web=2))
    assert outcome.code == OK
    assert notes(outcome) == [
        f"{left} is on s2, which is no longer in dyno.yaml, and is not restarted; to move it: dynoctl apply"
    ]


def test_another_destination_is_not_restarted() -> None:
    """With the wrong -d, it restarted production."""
    fleet = deployed("s1", "s2", web=2)
    began = {unit: process.since for host in ("s1", "s2") for unit, process in fleet[host].processes.items()}
    outcome = fleet.restart(replace(manifest(web=2), destination="staging"))
    assert outcome.code == ERROR and "runs shop for the destination default, not staging" in outcome.said
    assert {unit: one.since for host in ("s1", "s2") for unit, one in fleet[host].processes.items()} == began


def test_a_restart_needs_no_disk() -> None:
    """It changes no files, so it keeps no copy of any. A full disk is when dynos are restarted in need."""
    fleet = deployed("s1", "s2", web=2)
    began = {process.dyno: process.since for server in ("s1", "s2") for process in fleet[server].processes.values()}
    fleet["s1"].full = fleet["s2"].full = True
    outcome = fleet.restart(manifest("s1", "s2", web=2))
    assert outcome.code == OK, outcome.said
    since = {process.dyno: process.since for server in ("s1", "s2") for process in fleet[server].processes.values()}
    assert since.keys() == began.keys() and all(since[dyno] > began[dyno] for dyno in began)
    told = [event.text for event in outcome.events if event.kind == "note"]
    assert told == ["not in the history of this server: no space left on device"] * 2
