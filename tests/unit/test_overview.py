"""What a plan says of each server: the free CPU is what no dyno of any app reserves after it."""

from __future__ import annotations

import json
from dataclasses import replace

from infra.manifest.model import Router, Server
from infra.model.formation import Formation
from infra.model.naming import Mark
from infra.model.provider import Dyno
from infra.plan.formation import form
from infra.plan.overview import ServerOverview, overview
from infra.views import page_fleet, plan_document, plan_json
from tests.unit.test_formation import facts, manifest
from tests.unit.test_plan_views import sample


def test_every_server_with_what_is_free_after_the_plan() -> None:
    wanted = manifest(3, 3, drain=("s3",), router=Router("nginx", ("s1",)))
    blog = Mark("blog", "web.1", 9000, 300)
    here = facts("s1", {"web.1": "s1"})
    found = {
        "s1": replace(here, marks=(*here.marks, blog)),  # of this app, what runs now does not count
        "s3": facts("s3", {}, cores=1),
        "gone": facts("gone", {"web.3": "gone"}, cores=1),
    }
    homes = {"web.1": "s1", "web.2": "s1", "worker.1": "s2", "web.3": "s1"}
    formation = Formation((Dyno("web.3", "s1", cpu=100),), homes, {})
    assert overview(wanted, formation, found) == {
        "s1": ServerOverview("10.0.0.s1", {"rack": "a"}, 2, 2000 - 300 - 250 - 250 - 100, "nginx"),
        "s2": ServerOverview("10.0.0.s2", {"rack": "b"}),
        "s3": ServerOverview("10.0.0.s3", {"rack": "a"}, 1, 1000, draining=True),
        "gone": ServerOverview("10.0.0.1", {}, 1, 1000),
    }


def test_dynos_of_other_apps_that_may_be_idle_take_a_twentieth() -> None:
    """A server of two cores has a place for the hundred and first preview, and production still has its own."""
    wanted = replace(manifest(1, 1), servers=(Server("s1", "10.0.0.1"),))
    marks = tuple(Mark(f"shop-pr-{number}", "web.1", 9000 + number, 250, idles=True) for number in range(100))
    here = replace(facts("s1", {}), marks=marks)
    made = form(wanted, {"s1": here}, ())
    assert made.homes == {"web.1": "s1", "worker.1": "s1"} and not made.errors
    assert overview(wanted, made, {"s1": here})["s1"].free == 2000 - 100 * 13 - 500
    full = replace(here, marks=tuple(replace(mark, idles=False) for mark in marks))
    assert form(wanted, {"s1": full}, ()).errors


def test_overcommit_is_room_for_more() -> None:
    wanted = replace(manifest(1, 1), servers=(Server("s1", "10.0.0.1"),), per_core=2000)
    server = overview(wanted, Formation((), {"web.1": "s1"}, {}), {"s1": facts("s1", {})})["s1"]
    assert (server.cores, server.free, server.per_core) == (2, 3750, 2000)
    assert page_fleet._places(server)["places"] == "15 of 16 places free"


def test_more_than_a_server_has_leaves_nothing() -> None:
    wanted = replace(manifest(1, 9), servers=(Server("s1", "10.0.0.1"),))
    homes = {f"web.{number}": "s1" for number in range(1, 10)}
    assert overview(wanted, Formation((), homes, {}), {"s1": facts("s1", {})})["s1"].free == 0


def test_it_is_in_the_json_in_cores_and_read_back() -> None:
    fleet = {
        "s1": ServerOverview("10.0.0.1", {"rack": "a"}, 2, 1250, "nginx", per_core=1500),
        "s2": ServerOverview("10.0.0.2"),
    }
    running = replace(sample().release, number=6, commit="5c1e77ab0d21", message="m", who="me", when="2026")
    plan = replace(sample(), fleet=fleet, running=running, commit="9b0c2f44d1aa-dirty")
    document = json.loads(json.dumps(plan_json.document(plan, {})))
    assert document["fleet"]["s1"]["free"] == 1.25 and document["fleet"]["s2"]["cores"] is None
    back = plan_document.plan(document)
    assert (back.fleet, back.commit) == (fleet, plan.commit)
    assert back.running is not None and (back.running.commit, back.running.who) == ("5c1e77ab0d21", "me")
    assert plan_json.digest(document) == plan_json.digest(
        json.loads(json.dumps({**document, "round_trips": {"execs": 9}}))
    )
    assert plan_json.digest(document) != plan_json.digest({**document, "app": "blog"})
