"""Rollbacks, restarts, routers and schedules: what comes back, what is led to, and what is nowhere twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.errors import ERROR, OK, REJECTED, UNREACHABLE
from infra.manifest.model import Manifest, Server
from tests.simulation.app import deployed, report, running, slugs
from tests.simulation.faults import Kind
from tests.simulation.harness import APP, Simulation, manifest
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
    outcome = fleet.rollback(manifest("s1", slug="b"))
    assert outcome.code == ERROR and "neither on a server" in outcome.said


def test_a_rollback_sends_the_slug_where_it_is_missing() -> None:
    fleet = deployed()
    fleet.apply(manifest(slug="b"))
    fleet["s2"].remove(f"{STATE}/{APP}/slugs/{digest('/a')}.squashfs")
    other = manifest(slug="b")
    refused = fleet.rollback(other)
    assert "no two servers have the same image" in refused.said and "--trust s1" in refused.said
    assert running(fleet) == {"web.1": "b", "web.2": "b"}
    assert fleet.rollback(other, "v1", trust=frozenset({"s1"})).code == OK
    assert running(fleet) == {"web.1": "a", "web.2": "a"}


def test_a_rollback_makes_the_slug_if_the_source_is_at_hand() -> None:
    fleet = deployed()
    fleet.apply(manifest(slug="b"))
    fleet["s2"].remove(f"{STATE}/{APP}/slugs/{digest('/a')}.squashfs")
    assert fleet.rollback(manifest()).code == OK
    assert running(fleet) == {"web.1": "a", "web.2": "a"}


def test_a_rollback_fetches_its_slug_from_any_server_that_has_it() -> None:
    fleet = deployed("s1", "s2", "s3", web=3)
    three = manifest("s1", "s2", "s3", web=3, slug="b")
    fleet.apply(three)
    fleet["s3"].remove(f"{STATE}/{APP}/slugs/{digest('/a')}.squashfs")
    fleet.fault("download", Kind.LOST_BEFORE, host="s1")
    fleet.rollback(three)
    assert set(slugs(fleet["s2"]).values()) | set(slugs(fleet["s3"]).values()) == {"a"}


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


def _full(*servers: str | Server, cpu: int = 250, **keys: object) -> Manifest:
    """A manifest whose web dynos have a CPU quota."""
    made = manifest(*servers, **keys)
    return replace(made, dynos={**made.dynos, "web": replace(made.dynos["web"], cpu=cpu)})


def test_a_dyno_whose_quota_grew_runs_on_where_there_is_no_room() -> None:
    """It was removed as not in dyno.yaml, as it had no place while another server was away."""
    fleet = Simulation("s1", "s2", "s3", cores=1)
    assert fleet.apply(_full("s1", "s2", "s3", web=9)).code == OK
    fleet["s3"].connected = False
    outcome = fleet.apply(_full("s1", "s2", "s3", web=9, cpu=500, slug="b"))
    assert outcome.code == UNREACHABLE and outcome.plan is not None
    here = slugs(fleet["s1"]) | slugs(fleet["s2"])
    assert len(here) == 6 and set(here.values()) == {"b"}, "all of them have the new release"
    assert any(
        "keeps running on s" in note and "with 0.25 CPU until there is capacity" in note for note in outcome.plan.notes
    )
    for host in ("s1", "s2"):
        marks = [text for path, text in fleet[host].files.items() if path.endswith(".service")]
        assert sum(int(text.split("cpu=")[1].split()[0]) for text in marks) <= 1000
    assert fleet.pending(_full("s1", "s2", "s3", web=9, cpu=500, slug="b")) == []
    fleet.fleet.add("s4", cores=4)
    fleet["s3"].connected = True
    assert fleet.apply(_full("s1", "s2", "s3", "s4", web=9, cpu=500, slug="b")).code == OK
    texts = [text for server in fleet.fleet.servers.values() for text in server.files.values() if "dyno=web." in text]
    assert len(texts) == 9 and all("cpu=500" in text for text in texts)


def test_a_server_that_left_keeps_what_has_no_room_elsewhere() -> None:
    fleet = Simulation("s1", "s2", "s3", cores=1)
    assert fleet.apply(_full("s1", "s2", "s3", web=12)).code == OK
    fleet["s3"].connected = False
    fewer = _full("s1", "s3", web=12, slug="b")
    outcome = fleet.apply(fewer)
    assert outcome.code == UNREACHABLE and outcome.plan is not None
    assert len(slugs(fleet["s2"])) == 4 and set(slugs(fleet["s2"]).values()) == {"b"}
    assert any("keeps running on s2, which is not in dyno.yaml" in note for note in outcome.plan.notes)
    assert not any("this app is removed from it" in note for note in outcome.plan.notes)
    assert fleet.pending(fewer) == []
    fleet["s3"].connected = True
    more = _full("s1", "s3", "s4", web=12, slug="b")
    fleet.fleet.add("s4", cores=1)
    assert fleet.apply(more).code == OK
    assert not fleet["s2"].processes and not [path for path in fleet["s2"].files if "shop" in path]
    assert fleet.pending(more) == []


@pytest.mark.parametrize("cpu", [250, 500])
def test_a_schedule_and_a_worker_run_on_where_there_is_no_room(cpu: int) -> None:
    fleet = Simulation("s1", "s2", cores=1)
    wanted = _full("s1", "s2", web=4, worker=1, schedule=True)
    assert fleet.apply(wanted).code == OK
    away = next(name for name in ("s1", "s2") if not fleet[name].timers)
    fleet[away].connected = False
    other = "s1" if away == "s2" else "s2"
    before = set(slugs(fleet[other]))
    grown = replace(wanted, dynos={**wanted.dynos, "web": replace(wanted.dynos["web"], cpu=cpu)})
    grown = replace(grown, dynos={**grown.dynos, "worker": replace(grown.dynos["worker"], cpu=cpu)})
    assert fleet.apply(grown).code == UNREACHABLE
    assert set(slugs(fleet[other])) == before and fleet[other].timers
