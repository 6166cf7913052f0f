"""Dynos that a router leads to which cannot be asked: they stay, with their ports, and the plan names the router."""

from __future__ import annotations

import pytest

from infra.errors import OK, UNREACHABLE
from infra.manifest.model import Manifest, Server
from tests.simulation.app import deployed, running
from tests.simulation.harness import Simulation, manifest
from tests.simulation.invariants import upstreams

ALL = ("s1", "s2", "s3")


def cut(**keys: object) -> Simulation:
    """Four web dynos, one worker, and a router on s3 that cannot be reached; it has no dynos."""
    fleet = Simulation(*ALL)
    outcome = fleet.apply(manifest(*_servers(), **{"web": 4, "worker": 1, "router": ["s1", "s3"], **keys}))
    assert outcome.code == OK, outcome.said
    fleet["s3"].connected = False
    return fleet


def _servers(*names: str) -> list[Server]:
    return [Server(name, name, dynos=name != "s3") for name in names or ALL]


def wanted(*names: str, **keys: object) -> Manifest:
    return manifest(*_servers(*names), **{"web": 2, "router": ["s1", "s3"], **keys})


@pytest.mark.parametrize(
    "fewer",
    [
        wanted(),
        wanted(router=["s1"]),
        wanted(router=[]),
        wanted("s1", "s2", router=["s1"]),
        wanted("s1", "s2", router=[]),
    ],
    ids=["away", "not a router any more", "no router any more", "left", "left, and no router any more"],
)
def test_a_dyno_that_an_unseen_router_leads_to_stays(fewer: Manifest) -> None:
    """Another app got its port, and answered its requests."""
    fleet = cut()
    outcome = fleet.apply(fewer)
    assert outcome.code == UNREACHABLE and outcome.plan is not None
    assert set(running(fleet)) == {"web.1", "web.2", "web.3", "web.4"}, "the worker went"
    notes = [note for note in outcome.plan.notes if note.startswith("kept on")]
    assert any("web.3" in note and "the router on s3 is unreachable" in note for note in notes)
    assert not [change for change in outcome.plan.changes if change.resource.dyno in ("web.3", "web.4")]
    assert [entry for entry in fleet.pending(fewer) if entry.startswith("delete")] == []
    fleet["s3"].connected = True
    assert fleet.apply(fewer).code == OK
    assert set(running(fleet)) == {"web.1", "web.2"} == (set(upstreams(fleet["s3"])) or {"web.1", "web.2"})
    assert fleet.pending(fewer) == []


def test_a_dyno_that_moves_stays_where_an_unseen_router_leads_to() -> None:
    fleet = cut(web=2, worker=0)
    moved = manifest(
        Server("s1", "s1"), Server("s2", "s2", drain=True), Server("s3", "s3", dynos=False), router=["s1", "s3"]
    )
    assert fleet.apply(moved).code == UNREACHABLE
    assert len(fleet["s1"].processes) == 2 and len(fleet["s2"].processes) == 1
    assert set(upstreams(fleet["s1"]).values()) == {
        f"{fleet['s1'].address}:{process.port}" for process in fleet["s1"].processes.values()
    }
    fleet["s3"].connected = True
    assert fleet.apply(moved).code == OK
    assert not fleet["s2"].processes and fleet.pending(moved) == []


def test_a_server_that_left_keeps_what_an_unseen_router_leads_to() -> None:
    fleet = cut(web=2, worker=0)
    left = manifest("s1", Server("s3", "s3", dynos=False), router=["s1", "s3"])
    assert fleet.apply(left).code == UNREACHABLE
    assert len(fleet["s2"].processes) == 1
    fleet["s3"].connected = True
    assert fleet.apply(left).code == OK
    assert not fleet["s2"].processes and not [path for path in fleet["s2"].files if "/shop/" in path]


def test_destroy_keeps_what_an_unseen_router_leads_to() -> None:
    fleet = cut()
    outcome = fleet.destroy(wanted())
    assert outcome.code == UNREACHABLE and outcome.plan is not None
    assert any("the router on s3 is unreachable" in note for note in outcome.plan.notes)
    assert set(running(fleet)) == {"web.1", "web.2", "web.3", "web.4"}
    assert not upstreams(fleet["s1"])
    fleet["s3"].connected = True
    assert fleet.destroy(wanted()).code == OK
    for server in fleet.fleet.servers.values():
        assert not server.files and not server.processes


def test_a_router_that_is_given_up_holds_nothing() -> None:
    fleet = cut()
    assert fleet.apply(wanted("s1", "s2", router=["s1"]), forget=frozenset({"s3"})).code == OK
    assert set(running(fleet)) == {"web.1", "web.2"}
    fleet = cut()
    assert fleet.apply(wanted(), evacuate=frozenset({"s3"})).code == OK
    assert set(running(fleet)) == {"web.1", "web.2"}


def test_a_server_without_a_router_holds_nothing() -> None:
    fleet = deployed(*ALL, web=6, router=["s1"])
    fleet["s3"].connected = False
    assert fleet.apply(manifest(*ALL, web=2, router=["s1"])).code == UNREACHABLE
    assert len(fleet["s1"].processes) + len(fleet["s2"].processes) == 2


def test_a_port_that_is_kept_is_given_to_nobody() -> None:
    fleet = cut()
    fleet.apply(wanted())
    kept = {process.port for process in fleet["s1"].processes.values()}
    fleet.fleet.clock.advance(3600)
    ready = fleet.plan(manifest(*_servers(), web=8, router=["s1", "s3"]))
    ready.fleet.close()
    new = [dyno.port for dyno in ready.plan.formation.dynos if dyno.server == "s1" and dyno.name not in running(fleet)]
    assert new and not kept & set(new)
