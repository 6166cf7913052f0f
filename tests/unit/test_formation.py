"""Dynos move only from draining and evacuated servers; none is lost, and none runs twice."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.engine.lost_servers import refuse_evacuation
from infra.engine.prepared import Request
from infra.errors import DynoctlError, Unreachable
from infra.fleet.facts import Facts, parse
from infra.fleet.observe import Fleet, Observed
from infra.manifest.model import App, DynoType, Manifest, Schedule, Server
from infra.model.formation import Formation
from infra.model.naming import Mark
from infra.model.provider import Dyno, Scope
from infra.model.resource import Action, Change, Found, Resource, Upload
from infra.model.routing import Route
from infra.model.stack import Slug
from infra.plan.build import build
from infra.plan.formation import form
from infra.plan.plan import Plan
from infra.registry import Everything
from infra.state import records
from tests.unit.test_release import STACK


def manifest(servers: int, web: int, drain: tuple[str, ...] = (), **keys: Any) -> Manifest:
    named = [f"s{number}" for number in range(1, servers + 1)]
    racks = {name: {"rack": "ab"[number % 2]} for number, name in enumerate(named)}
    return Manifest(
        Path("dyno.yaml"),
        App("shop", Path("/")),
        tuple(Server(name, f"10.0.0.{name}", drain=name in drain, labels=racks[name]) for name in named),
        {"web": DynoType("web", web), "worker": DynoType("worker", 1, command="x")},
        **keys,
    )


def facts(name: str, dynos: Mapping[str, str], cores: int = 2, meta: Mapping[str, Any] | None = None) -> Facts:
    here = sorted(dyno for dyno, home in dynos.items() if home == name)
    marks = tuple(Mark("shop", dyno, 5000 + number, 250) for number, dyno in enumerate(here))
    ports = frozenset(mark.port for mark in marks)
    return Facts(
        f"m-{name}", name, "10.0.0.1", cores, 252, True, "3.1", frozenset(), ports, marks, meta=dict(meta or {})
    )


def known(dynos: Mapping[str, str], servers: int = 3, serial: int = 1) -> dict[str, Any]:
    ways = {f"m-s{n}": {"name": f"s{n}", "host": f"10.0.0.s{n}"} for n in range(1, servers + 1)}
    return {"serial": serial, "dynos": {dyno: f"m-{home}" for dyno, home in dynos.items()}, "servers": ways}


def formed(
    one: Manifest, homes: Mapping[str, str], away: tuple[str, ...] = (), evacuate: tuple[str, ...] = ()
) -> Formation:
    meta = known(homes, len(one.servers))
    found = {server.name: facts(server.name, homes, meta=meta) for server in one.servers if server.name not in away}
    return form(one, found, away, evacuate)


def test_only_the_dynos_of_a_draining_server_move() -> None:
    homes = {"web.1": "s1", "web.2": "s2", "web.3": "s3", "worker.1": "s2"}
    made = formed(manifest(3, 3, ("s2",)), homes)
    assert made.errors == ()
    assert made.homes == {"web.1": "s1", "web.2": "s1", "web.3": "s3", "worker.1": "s3"}
    assert made.before == homes
    assert made.notes == ("s2 is draining: web.2 moves to s1, worker.1 moves to s3",)
    (moved,) = [dyno for dyno in made.dynos if dyno.name == "web.2"]
    assert (moved.server, moved.port) == ("s1", 5001), "a free port on its new server"
    assert formed(manifest(3, 3, ("s2",)), made.homes).notes == (
        "s2 is draining: it has no dynos left and can be removed from the manifest",
    )


def test_a_spread_is_kept_while_a_server_drains() -> None:
    homes = {"web.1": "s1", "web.2": "s2", "web.3": "s3", "web.4": "s4", "worker.1": "s1"}
    made = formed(manifest(4, 4, ("s2",), spread="rack"), homes)
    assert made.homes["web.2"] == "s4", "the same rack has capacity"


def test_without_capacity_nothing_moves_and_the_missing_cores_are_named() -> None:
    homes = {f"web.{number}": f"s{1 + number % 2}" for number in range(1, 13)}
    made = formed(manifest(2, 12, ("s2",)), {**homes, "worker.1": "s2"})
    (error,) = made.errors
    assert "no capacity for" in error.summary and "1.25 more cores are needed" in error.summary
    assert "without the draining s2" in error.expected
    assert set(made.homes) == {*homes, "worker.1"}, "no dyno is dropped"
    every = formed(manifest(2, 12, ("s1", "s2")), {**homes, "worker.1": "s2"})
    assert every.homes == {**homes, "worker.1": "s2"} and every.errors


def test_a_dyno_without_capacity_stays_while_another_server_is_unreachable() -> None:
    homes = {**{f"web.{number}": "s1" for number in range(1, 9)}, "worker.1": "s2"}
    made = formed(manifest(3, 8, ("s2",)), homes, away=("s3",))
    assert made.errors == () and made.homes == homes
    assert "s3 is unreachable" in made.notes[0]
    assert made.notes[1] == "s2 is draining: its dynos keep running until there is capacity on another server"


def test_an_unreachable_draining_server_keeps_its_dynos() -> None:
    homes = {"web.1": "s1", "web.2": "s2", "worker.1": "s3"}
    made = formed(manifest(3, 2, ("s2",)), homes, away=("s2",))
    assert made.homes == homes
    assert made.notes == ("s2 is draining and unreachable; if it is lost: dynoctl apply --evacuate s2",)


def test_a_lost_server_is_evacuated() -> None:
    homes = {"web.1": "s1", "web.2": "s2", "web.3": "s3", "worker.1": "s2"}
    one = manifest(3, 3)
    assert formed(one, homes, away=("s2",)).homes == homes, "an unreachable server keeps its dynos"
    made = formed(one, homes, away=("s2",), evacuate=("s2",))
    assert made.homes == {"web.1": "s1", "web.2": "s1", "web.3": "s3", "worker.1": "s3"}
    assert made.notes == ("s2 is evacuated: web.2 moves to s1, worker.1 moves to s3",)
    assert {dyno.name for dyno in made.dynos} == set(homes)
    full = formed(manifest(2, 12), {f"web.{n}": f"s{1 + n % 2}" for n in range(1, 13)}, ("s2",), ("s2",))
    assert "more cores are needed" in full.errors[0].summary, "its cores do not count"


def test_a_returning_server_is_cleaned() -> None:
    """The newest record has the server of each dyno; the copy on the evacuated server is removed."""
    was, now = {"web.1": "s1", "web.2": "s2"}, {"web.1": "s1", "web.2": "s3"}
    found = {
        "s1": facts("s1", now, meta=known(now, serial=2)),
        "s2": facts("s2", was, meta=known(was)),
        "s3": facts("s3", now, meta=known(now, serial=2)),
    }
    made = form(manifest(3, 2), found, ())
    assert made.homes["web.2"] == "s3"
    assert form(manifest(3, 2, ("s2",)), found, ()).notes == (
        "s2 is draining: web.2 will be removed after all other changes succeeded",
    )
    observed = {
        name: Observed(one, {f"unit.shop-{mark.dyno}": Found({"state": "running"}) for mark in one.marks})
        for name, one in found.items()
    }
    desired = [
        Resource(home, "unit", f"shop-{dyno}", {"state": "running"}, dyno)
        for dyno, home in made.homes.items()
        if "web" in dyno
    ]
    plan = build("shop", desired, observed, made, Everything.providers, {})
    assert [(change.action, change.address, change.reason) for change in plan.changes] == [
        ("delete", "s2/unit.shop-web.2", "web.2 moves to s3")
    ]


def test_an_evacuated_server_stays_in_the_records() -> None:
    homes = {"web.1": "s1", "web.2": "s2"}
    one = manifest(3, 2)
    found = {name: Observed(facts(name, homes, meta=known(homes)), {}) for name in ("s1", "s3")}
    made = form(one, {name: seen.facts for name, seen in found.items()}, ("s2",), ("s2",))
    plan = Plan("shop", (), made, (), {"s2": Unreachable("s2")}, (), (), (), "", evacuated=("s2",))
    assert plan.missed == ()
    name, text = records.formation(one, plan, found, "me", "now")
    written = json.loads(text or "")
    assert name == "meta.json" and written["serial"] == 2
    assert written["dynos"]["web.2"] == "m-s3"
    assert "m-s2" in written["servers"], "it is observed and cleaned even if it leaves the manifest"


def test_a_reachable_server_is_not_evacuated() -> None:
    one, fleet = manifest(3, 2), Fleet()
    fleet.found["s1"] = Observed(facts("s1", {}), {})
    fleet.unreachable |= {
        "s2": Unreachable("s2: no route", silent=True),
        "s3": DynoctlError("s3: what it said cannot be read"),
    }
    refuse_evacuation(Request(evacuate=frozenset({"s2"})), one, fleet)
    for name, says in (("s1", "reachable, so"), ("s3", "it answers, so"), ("s9", "no such server")):
        with pytest.raises(DynoctlError, match=says):
            refuse_evacuation(Request(evacuate=frozenset({name})), one, fleet)


def test_any_fleet_in_any_state() -> None:
    """Random fleets: some servers are draining, some unreachable, and some of those evacuated."""
    chance = random.Random(2009)
    for round_ in range(400):
        servers, web = chance.randint(1, 6), chance.randint(0, 24)
        names = [f"s{number}" for number in range(1, servers + 1)]
        load: Counter[str] = Counter()
        homes = {}
        for dyno in [*(f"web.{number}" for number in range(1, web + 1)), "worker.1"]:
            room = [name for name in names if load[name] < 8]
            if room and chance.random() < 0.8:
                homes[dyno] = chance.choice(room)
                load[homes[dyno]] += 1
        drain = tuple(name for name in names if chance.random() < 0.3)
        away = tuple(name for name in names if chance.random() < 0.2)
        dead = tuple(name for name in away if chance.random() < 0.5)
        one = manifest(servers, web, drain)
        if len(away) == servers:
            continue
        made = formed(one, homes, away, dead)
        where = f"round {round_}: {homes} {drain=} {away=} {dead=}"
        assert made == formed(one, homes, away, dead), where
        after: Counter[str] = Counter(made.homes.values())
        for dyno, home in homes.items():
            if (home in away and home not in dead) or (home not in drain and home not in away):
                assert made.homes[dyno] == home, where
            elif home not in dead:
                assert dyno in made.homes, where
                assert made.homes[dyno] == home or made.homes[dyno] not in drain, where
            else:
                assert made.homes.get(dyno) not in (*drain, *away), where
        for name in names:
            if name not in drain and name not in away:
                assert after[name] <= 8, where
            if name in drain:
                assert after[name] <= load[name], where
        wanted = {*(f"web.{number}" for number in range(1, web + 1)), "worker.1"}
        open_ = [name for name in names if name not in drain and name not in away]
        if wanted - set(made.homes) or any(made.homes.get(dyno) in drain for dyno in homes if homes[dyno] not in away):
            assert all(after[name] == 8 for name in open_), f"no place is left free; {where}"
            assert made.errors or set(away) - set(dead) - set(drain), where
        assert {dyno.name for dyno in made.dynos} == {d for d, home in made.homes.items() if home not in away}, where


def test_the_port_of_a_dyno_is_taken_from_its_record() -> None:
    """A unit that was edited or removed by hand does not change the port of its dyno."""
    one = manifest(1, 1)
    slug = Slug("cafe" * 16, lambda session, say: Upload("", "", "", 0))
    dynos = Formation((Dyno("web.1", "s1", "10.0.0.1", 5042), Dyno("worker.1", "s1")), {}, {})
    scope = Scope("shop", "", environments={"web": {}, "worker": {}})
    registry = Everything()
    desired = registry.desired(one, STACK, slug, dynos, scope, ["s1"])
    lines = [records.applied(Change(part, Action.CREATE, None, part.attributes), {})[1] for part in desired]
    seen = parse("\n".join(["machine_id m-s1", "cores 2", *(line for line in lines if line)]))
    assert seen.recorded_ports() == {"web.1": 5042}
    assert [json.loads(line)["key"] for line in lines if line and "port" in json.loads(line)] == ["unit.shop-web.1"]
    made = form(one, {"s1": replace(seen, marks=(Mark("shop", "web.1", 7000, 250),))}, ())
    assert next(dyno.port for dyno in made.dynos if dyno.name == "web.1") == 5042
    made = form(one, {"s1": seen}, ())
    assert next(dyno.port for dyno in made.dynos if dyno.name == "web.1") == 5042


def test_the_registry_has_the_keys_of_its_resources() -> None:
    """Plans look them up among the observed resources, so they must be the keys that providers use."""
    registry = Everything()
    scope = Scope("shop", "")
    by_kind = {provider.kind: provider for provider in registry.providers}
    kind, _, prefix = registry.volume_key("shop", "").partition(".")
    (name,) = by_kind[kind].parse(scope, "directory 2770 root:dyno-shop /var/lib/dynoctl-volumes/shop/uploads\n")
    assert registry.volume_key("shop", "uploads") == f"{kind}.{name}"
    assert name.startswith(prefix)
    assert registry.package_key("thin").partition(".")[0] in by_kind


def test_a_port_that_a_router_leads_to_for_another_app_is_taken() -> None:
    """Its dyno is gone, but the router still leads there: this app would answer its requests."""
    route = Route("blog", "nginx", upstreams={"web.1": "10.0.0.1:5000", "web.2": "10.0.0.9:5001", "web.3": "nonsense"})
    found = {"s1": replace(facts("s1", {}), routes=(route, replace(route, app="shop")))}
    (dyno,) = [dyno for dyno in form(manifest(1, 1), found, ()).dynos if dyno.port]
    assert dyno.port == 5001


@pytest.mark.parametrize(("address", "refused"), [("fe80::1%eth0", True), ("fe80::1", True), ("fd00::1", False)])
def test_no_dyno_listens_on_a_link_local_address(address: str, refused: bool) -> None:
    """Neither systemd nor nginx takes one with its interface. A name in ssh_config may lead to one."""
    seen = {"s1": replace(facts("s1", {}), address=address)}
    errors = form(manifest(1, 1), seen, ()).errors
    assert [error.summary for error in errors] == refused * [
        f"web.1 cannot listen on {address}, a link-local address by which s1 was reached"
    ]


def labelled(**types: dict[str, str]) -> Manifest:
    """Three servers: s1 in rack a, s2 in rack b, s3 in rack a. ``types`` are the labels of types by name."""
    one = manifest(3, 2)
    return replace(one, dynos={name: replace(type_, labels=types.get(name, {})) for name, type_ in one.dynos.items()})


def test_labels_choose_the_servers_and_move_what_runs_elsewhere() -> None:
    one = labelled(worker={"rack": "b"})
    assert formed(one, {}).homes == {"web.1": "s1", "web.2": "s3", "worker.1": "s2"}
    made = formed(one, {"web.1": "s1", "web.2": "s2", "worker.1": "s3"})
    assert made.homes == {"web.1": "s1", "web.2": "s2", "worker.1": "s2"}
    assert made.notes == ("s3 does not have the labels of some dynos: worker.1 moves to s2",)
    assert formed(one, made.homes).notes == (), "once"


def test_a_dyno_stays_where_it_runs_while_no_server_with_its_labels_is_reachable() -> None:
    homes = {"web.1": "s1", "web.2": "s3", "worker.1": "s3"}
    made = formed(labelled(worker={"rack": "b"}), homes, away=("s2",))
    assert (made.homes, made.errors) == (homes, ())
    assert made.notes[0] == (
        "no capacity for 1 dyno (worker.1): no server with rack=b takes dynos, while s2 is unreachable"
    )
    one = labelled(worker={"rack": "b"})
    drained = replace(one, servers=tuple(replace(server, drain=server.name == "s2") for server in one.servers))
    made = formed(drained, homes)
    (error,) = made.errors
    assert made.homes == homes and error.path == "dynos/worker/servers/labels"
    assert error.expected == "labels of the servers: s1 (rack=a), s3 (rack=a), without the draining s2"


def test_the_free_places_of_the_servers_that_would_do_are_named() -> None:
    one = labelled(web={"rack": "a"})
    one = replace(one, dynos={**one.dynos, "web": replace(one.dynos["web"], count=7, cpu=750)})
    (error,) = formed(one, {}).errors
    assert (
        error.summary
        == "no capacity for 3 dynos (web.5, web.6, web.7): 2.25 more cores are needed on servers with rack=a"
    )
    assert error.path == "dynos/web/count"
    assert error.expected == "free places of 0.75 CPU: 0 on s1 (0.5 of 2), 0 on s3 (0.5 of 2)"
    assert (
        error.hint
        == "add a server with rack=a, or lower dynos.web.count or dynos.web.cpu, or raise placement.overcommit"
    )
    assert formed(replace(one, per_core=1250), {}).errors[0].summary.startswith("no capacity for 1 dyno (web.7)")
    assert formed(replace(one, per_core=2000), {}).errors == ()


def test_a_schedule_without_a_quota_fits_on_full_servers() -> None:
    one = replace(manifest(1, 7), schedule=(Schedule("nightly", "x", (), "", cpu=0),))
    assert formed(one, {}).homes["nightly.1"] == "s1"
    (error,) = formed(replace(one, schedule=(Schedule("nightly", "x", (), ""),)), {}).errors
    assert (error.path, "cpu of the schedule nightly" in error.hint) == ("schedule/0/cpu", True)


def test_dynos_that_move_to_the_same_server_are_named_together() -> None:
    homes = {**{f"web.{number}": "s2" for number in (1, 2, 3, 5)}, "worker.1": "s2", "web.4": "s3"}
    made = formed(manifest(3, 5, ("s2",)), homes)
    assert made.notes == ("s2 is draining: web.[1-2,5] move to s1, web.3, worker.1 move to s3",)


def test_a_rebalance_moves_dynos_to_a_server_that_came_back() -> None:
    homes = {**{f"web.{number}": f"s{1 + number % 2}" for number in range(1, 7)}, "worker.1": "s1"}
    one, meta = manifest(3, 6), known(homes)
    found = {name: facts(name, homes, meta=meta) for name in ("s1", "s2", "s3")}
    assert form(one, found, ()).homes == homes, "an apply moves nothing"
    made = form(one, found, (), rebalance=True)
    assert Counter(made.homes.values()) == {"s1": 3, "s2": 2, "s3": 2}
    assert made.notes == (
        "to make the placement even, from s2: web.5 moves to s3",
        "to make the placement even, from s1: web.6 moves to s3",
    )
    found = {name: facts(name, made.homes, meta=known(dict(made.homes))) for name in found}
    again = form(one, found, (), rebalance=True)
    assert (again.homes, again.notes) == (made.homes, ())
    away = form(one, {name: found[name] for name in ("s1", "s2")}, ("s3",), rebalance=True)
    assert away.homes == made.homes, "what is on an unreachable server stays there"
