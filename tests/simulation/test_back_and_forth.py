"""Rollbacks, restarts, routers and schedules: what comes back, what is led to, and what is nowhere twice."""

from __future__ import annotations

from infra.errors import ERROR, OK, REJECTED, UNREACHABLE
from infra.manifest.model import Server
from tests.simulation.app import deployed, report, running
from tests.simulation.faults import Kind
from tests.simulation.harness import APP, manifest
from tests.simulation.invariants import upstreams
from tests.simulation.registry import digest
from tests.simulation.server import STATE


def test_a_rollback_runs_what_ran_before() -> None:
    fleet = deployed(env={"COLOUR": "red"})
    fleet.apply(manifest(slug="b", env={"COLOUR": "blue"}))
    outcome = fleet.rollback(manifest(slug="c"))
    assert outcome.code == OK and outcome.plan is not None and outcome.plan.wanted == "v1"
    assert running(fleet) == {"web.1": "a", "web.2": "a"}
    assert {process.release.config for process in fleet["s1"].processes.values()} == {"COLOUR=red\n"}
    assert fleet.rollback(manifest(), "v2").code == OK
    assert running(fleet) == {"web.1": "b", "web.2": "b"}


def test_a_rollback_needs_a_slug_that_somebody_has() -> None:
    fleet = deployed("s1")
    fleet.apply(manifest("s1", slug="b"))
    fleet["s1"].remove(f"{STATE}/{APP}/slugs/{digest('/a')}.squashfs")
    outcome = fleet.rollback(manifest("s1"))
    assert outcome.code == ERROR and "neither on a server" in outcome.said


def test_a_rollback_sends_the_slug_where_it_is_missing() -> None:
    fleet = deployed()
    fleet.apply(manifest(slug="b"))
    fleet["s2"].remove(f"{STATE}/{APP}/slugs/{digest('/a')}.squashfs")
    assert fleet.rollback(manifest()).code == OK
    assert running(fleet) == {"web.1": "a", "web.2": "a"}


def test_a_rollback_to_nothing_is_refused() -> None:
    fleet = deployed()
    assert "no earlier successful release" in str(fleet.rollback(manifest()).error)
    assert "release v9 not found" in str(fleet.rollback(manifest(), "v9").error)


def test_a_restart_restarts_what_it_is_told_to() -> None:
    fleet = deployed(worker=1)
    since = {
        dyno: process.since for server in fleet.fleet.servers.values() for dyno, process in server.processes.items()
    }
    assert fleet.restart(manifest(worker=1), "web").code == OK
    now = {dyno: process.since for server in fleet.fleet.servers.values() for dyno, process in server.processes.items()}
    assert {dyno for dyno in now if now[dyno] != since[dyno]} == {"dyno-shop-web-1", "dyno-shop-web-2"}
    assert fleet.pending(manifest(worker=1)) == []


def test_a_restart_that_fails_stops_there() -> None:
    fleet = deployed()
    fleet.fault("sim start", Kind.FAIL)
    outcome = fleet.restart(manifest())
    assert outcome.code == REJECTED and report(outcome).halted and len(report(outcome).skipped) == 2


def test_a_restart_of_strangers_is_refused() -> None:
    fleet = deployed()
    assert "matches no running dyno" in str(fleet.restart(manifest(), "clock").error)
    fleet["s2"].connected = False
    assert fleet.restart(manifest()).code == UNREACHABLE


def test_routers_lead_to_what_came_up() -> None:
    fleet = deployed(router=["s1"])
    fleet.fault("sim start", Kind.FAIL)
    fleet.apply(manifest(web=3, router=["s1"]))
    assert set(upstreams(fleet["s1"])) == {"web.1", "web.2"}
    assert fleet.apply(manifest(web=3, router=["s1"])).code == OK
    assert set(upstreams(fleet["s1"])) == {"web.1", "web.2", "web.3"}


def test_what_a_router_still_leads_to_stays() -> None:
    fleet = deployed(router=["s1"], web=3)
    fleet.fault("sim route", Kind.FAIL)
    outcome = fleet.apply(manifest(router=["s1"], web=2))
    assert outcome.code == ERROR
    assert set(running(fleet)) == {"web.1", "web.2", "web.3"}


def test_a_schedule_is_nowhere_twice() -> None:
    fleet = deployed(schedule=True, web=0)
    home = next(name for name in ("s1", "s2") if fleet[name].timers)
    drained = [Server(name, name, drain=name == home) for name in ("s1", "s2")]
    fleet.fault("sim unschedule", Kind.FAIL)
    outcome = fleet.apply(manifest(*drained, schedule=True, web=0))
    assert outcome.code == ERROR
    assert sum(bool(server.timers) for server in fleet.fleet.servers.values()) == 1
    assert fleet.apply(manifest(*drained, schedule=True, web=0)).code == OK
    assert not fleet[home].timers
