"""Recorded machines are matched with the servers of the manifest by machine-id, else by host, port and gateway."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from infra.fleet.facts import Facts
from infra.fleet.identity import address, identify
from infra.fleet.inventory import departed_targets
from infra.fleet.observe import Observed
from infra.manifest.model import Manifest, Server, Ssh
from infra.plan.formation import form
from infra.plan.plan import Plan
from infra.plan.replacements import lost_homes, new_machines
from infra.state import records
from tests.unit.test_formation import facts
from tests.unit.test_formation import manifest as fleet_of

HOMES = {"web.1": "m-s1", "web.2": "m-s2"}


def way(name: str, host: str, port: str = "", **more: str) -> dict[str, str]:
    return {"name": name, "host": host, "user": "", "port": port, **more}


def meta(ways: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    return {"serial": 3, "dynos": HOMES, "servers": dict(ways)}


def with_servers(*servers: Server, gateway: str | None = None) -> Manifest:
    return replace(fleet_of(2, 2), servers=servers, ssh=Ssh(gateway=gateway))


def reached(name: str, ways: Mapping[str, Mapping[str, str]], machine: str = "") -> dict[str, Facts]:
    return {name: replace(facts(name, {}, meta=meta(ways)), machine_id=machine or f"m-{name}")}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("h", None, None), ("h", 22, ""), True),
        (("Grid.Example.org.", 22, None), ("grid.example.org", None, None), True),
        (("2001:DB8:0::1", None, None), ("2001:db8::1", None, None), True),
        (("h", 2201, None), ("h", 2202, None), False),
        (("h", None, "a"), ("h", None, "b"), False),
    ],
)
def test_equal_addresses(one: Any, other: Any, same: bool) -> None:
    assert (address(*one) == address(*other)) is same


def test_servers_that_share_a_host_are_told_apart_by_their_ports() -> None:
    ways = {"m-s1": way("s1", "gate", "2201"), "m-s2": way("s2", "gate", "2202")}
    both = with_servers(Server("s1", "gate", port=2201), Server("s2", "gate", port=2202))
    assert identify(both, reached("s1", ways)).servers == {"m-s2": "s2"}
    (leaving,) = departed_targets(with_servers(Server("s1", "gate", port=2201)), reached("s1", ways)).values()
    assert (leaving.name, leaving.host, leaving.port) == ("s2", "gate", 2202)


def test_a_name_identifies_only_a_server_that_nothing_else_does() -> None:
    ways = {"m-s1": way("s1", "a"), "m-s2": way("s2", "b"), "m-s3": way("s3", "c")}
    renamed = identify(with_servers(Server("s1", "a"), Server("s3", "b"), Server("s2", "z")), reached("s1", ways))
    assert renamed.servers == {"m-s2": "s3"}, "m-s3 has another address, and s3 is m-s2"
    assert renamed.unknown == {"s2"} and not renamed.displaced
    mistyped = identify(with_servers(Server("s1", "a"), Server("s2", "z")), reached("s1", ways))
    assert mistyped.servers == {"m-s2": "s2"} and mistyped.displaced == {"m-s2"} and not mistyped.unknown
    assert [mistyped.may_be_of(machine) for machine in ("m-s2", "m-s3")] == ["s2", None]


def test_names_that_went_to_other_machines_do_not_tell_which_one_a_server_is() -> None:
    ways = {"m-s1": way("s1", "a"), "m-s2": way("s2", "b"), "m-s3": way("s3", "c")}
    shuffled = identify(with_servers(Server("s1", "z"), Server("s2", "new")), reached("s2", ways, "m-new"))
    assert shuffled.displaced == {"m-s1"}
    assert [shuffled.may_be_of(machine) for machine in ("m-s1", "m-s2", "m-s3")] == ["s1", "s1", None]


def test_the_gateway_counts_from_when_it_is_recorded() -> None:
    old = {"m-s1": way("s1", "a"), "m-s2": way("s2", "b")}
    new = {"m-s1": way("s1", "a", gateway="x"), "m-s2": way("other", "b", gateway="x")}
    one = with_servers(Server("s1", "a"), Server("s2", "b"), gateway="y")
    assert identify(one, reached("s1", old)).servers == {"m-s2": "s2"}
    assert identify(one, reached("s1", new)).unknown == {"s2"}


def test_a_new_machine_at_an_old_address() -> None:
    ways = {"m-s1": way("s1", "a"), "m-s2": way("s2", "b")}
    one = with_servers(Server("s1", "a"), Server("s2", "b"))
    found = {**reached("s1", ways), **reached("s2", {}, "m-new")}
    found["s2"] = replace(found["s2"], meta={})
    assert new_machines(one, found) == ["s2 is a new machine (was m-s2, now m-new)"]
    assert lost_homes(one, (), (), found) == {"web.2": "s2, which is a new machine"}
    assert form(one, found, ()).homes["web.2"] == "s2"


@pytest.mark.parametrize(
    ("servers", "evacuated", "forgotten", "says"),
    [
        ((Server("s1", "a"), Server("s2", "b")), (), (), {}),
        ((Server("s1", "a"), Server("s2", "b")), ("s2",), (), {"web.2": "s2, which is evacuated"}),
        ((Server("s1", "a"),), (), (), {"web.2": "s2, which left the manifest and is unreachable"}),
        ((Server("s1", "a"),), (), ("m-s2",), {"web.2": "s2, which is forgotten"}),
        ((Server("s1", "a"), Server("s2", "z")), (), (), {}),
    ],
)
def test_whose_volumes_are_lost(servers: Any, evacuated: Any, forgotten: Any, says: Any) -> None:
    ways = {"m-s1": way("s1", "a"), "m-s2": way("s2", "b")}
    assert lost_homes(with_servers(*servers), evacuated, forgotten, reached("s1", ways)) == says


def test_an_address_is_recorded_once_it_answered() -> None:
    ways = {"m-s1": way("s1", "a"), "m-s2": way("s2", "b")}
    one = with_servers(Server("s1", "a"), Server("s2", "z", port=2222), gateway="jump")
    found = reached("s1", ways)
    made = form(one, found, ("s2",))
    assert made.homes["web.2"] == "s2"
    observed = {name: Observed(seen, {}) for name, seen in found.items()}
    plan = Plan("shop", (), made, (), {}, (), (), (), "")
    alone = json.loads(records.formation(one, plan, observed, "me", "now")[1] or "")["servers"]
    assert alone["m-s2"] == {**way("s2", "b"), "from": "m-s1"}, "s1 alone says so, and this computer never applied it"
    written = json.loads(records.formation(one, plan, observed, "me", "now", hint=ways)[1] or "")["servers"]
    assert written["m-s1"] == way("s1", "a", gateway="jump", address="10.0.0.1") and written["m-s2"] == way("s2", "b")
    observed["s2"] = Observed(replace(facts("s2", {}, meta=meta(ways))), {})
    written = json.loads(records.formation(one, plan, observed, "me", "now")[1] or "")["servers"]
    assert written["m-s2"] == way("s2", "z", "2222", gateway="jump", address="10.0.0.1")


def test_of_two_machines_with_one_address_the_one_with_dynos_is_meant() -> None:
    ways = {"m-old": way("s2", "b"), "m-s1": way("s1", "a"), "m-s2": way("s2", "b")}
    one = with_servers(Server("s1", "a"), Server("s2", "b"))
    found = reached("s1", ways)
    plan = Plan("shop", (), form(one, found, ("s2",)), (), {}, (), (), (), "")
    observed = {name: Observed(seen, {}) for name, seen in found.items()}
    assert json.loads(records.formation(one, plan, observed, "me", "now")[1] or "")["dynos"]["web.2"] == "m-s2"
