"""Scaling and evacuating act on what runs: whatever else is edited in the tree stays there, and is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from infra.engine import running as engine
from infra.engine.prepare import prepare
from infra.engine.prepared import Request, StalePlan
from infra.errors import OK, UNREACHABLE, DynoctlError
from infra.fleet.inventory import targets
from infra.manifest.model import DynoType, Manifest, Reference, Rollout, Server, Volume
from infra.plan.selection import Selection
from infra.state import config, releases
from tests.simulation.app import BAD, deployed, running
from tests.simulation.as_running import act, go_back
from tests.simulation.faults import Kind
from tests.simulation.harness import APP, KILLED, REGISTRY, Outcome, Simulation, manifest
from tests.simulation.invariants import upstreams


def notes(outcome: Outcome) -> str:
    assert outcome.plan is not None
    return "\n".join(outcome.plan.notes)


def edited(*servers: str | Server, web: int = 2, **keys: Any) -> Manifest:
    """A tree in which somebody is at work."""
    tree = manifest(*servers, web=web, slug="b", env={"MODE": "new"}, worker=3, schedule=True, router=["s2"], **keys)
    types = {**tree.dynos, "web": replace(tree.dynos["web"], cpu=500, port=7000)}
    return replace(tree, dynos=types)


def test_scale_changes_the_number_and_nothing_else() -> None:
    fleet = deployed("s1", "s2", worker=1, router=["s1"])
    began = {unit: process.since for host in ("s1", "s2") for unit, process in fleet[host].processes.items()}
    outcome = act(fleet, edited("s1", "s2"), {"web": 4})
    assert outcome.code == OK, outcome.said
    assert running(fleet) == {**dict.fromkeys(("web.1", "web.2", "web.3", "web.4"), "a"), "worker.1": "a"}
    processes = {unit: process for host in ("s1", "s2") for unit, process in fleet[host].processes.items()}
    assert {unit: processes[unit].since for unit in began} == began, "what ran runs on"
    assert {process.release.config for process in processes.values()} == {""}
    assert {process.port for process in processes.values() if process.dyno.startswith("web")} <= set(range(5000, 5005))
    assert set(upstreams(fleet["s1"])) == {"web.1", "web.2", "web.3", "web.4"} and not upstreams(fleet["s2"])
    assert not fleet["s1"].timers and not fleet["s2"].timers
    said = notes(outcome)
    assert "left out, as v1 runs on: the source; config vars MODE;" in said and "--with-changes" in said
    for what in ("dynos.web", "dynos.worker", "schedule.nightly", "router"):
        assert what in said
    assert outcome.plan is not None and outcome.plan.release is not None and outcome.plan.release.number == 1
    assert fleet.pending(manifest("s1", "s2", web=4, worker=1, router=["s1"])) == []


def test_scale_down_and_up_again_keeps_the_numbers_of_the_others() -> None:
    fleet = deployed("s1", "s2", web=3, worker=2)
    tree = manifest("s1", "s2", web=9, worker=9)
    assert act(fleet, tree, {"web": 1}).code == OK
    assert sorted(running(fleet)) == ["web.1", "worker.1", "worker.2"]
    assert act(fleet, tree, {"worker": 0}).code == OK
    assert sorted(running(fleet)) == ["web.1"]
    assert act(fleet, tree, {"worker": 1}).code == OK
    assert sorted(running(fleet)) == ["web.1", "worker.1"]


def test_scale_after_an_apply_that_failed_leaves_the_others_as_they_are() -> None:
    fleet = deployed("s1", "s2")
    fleet.fault("sim start", Kind.FAIL, nth=3)
    assert fleet.apply(manifest("s1", "s2", web=5, worker=1)).code != OK
    before = {dyno for dyno in running(fleet) if dyno.startswith("web")}
    act(fleet, manifest("s1", "s2", web=5, worker=1), {"worker": 1})
    assert {dyno for dyno in running(fleet) if dyno.startswith("web")} == before


def test_scale_keeps_a_rollback() -> None:
    fleet = deployed()
    fleet.apply(manifest(slug="b"))
    assert fleet.rollback(manifest(slug="b")).code == OK
    outcome = act(fleet, manifest(slug="b"), {"web": 3})
    assert outcome.code == OK and set(running(fleet).values()) == {"a"} and len(running(fleet)) == 3


def test_a_release_that_runs_on_one_dyno_only_is_not_spread() -> None:
    fleet = deployed("s1", "s2", worker=1)
    fleet.apply(manifest("s1", "s2", slug="b", worker=1), selection=Selection(("web.1",)))
    assert running(fleet) == {"web.1": "b", "web.2": "a", "worker.1": "a"}
    assert act(fleet, manifest("s1", "s2", slug="b", worker=2), {"worker": 2}).code == OK
    assert {dyno: running(fleet)[dyno] for dyno in ("web.1", "web.2", "worker.1")} == {
        "web.1": "b",
        "web.2": "a",
        "worker.1": "a",
    }


def test_servers_that_left_the_tree_stay() -> None:
    fleet = deployed("s1", "s2")
    drained = manifest(Server("s1", "s1", drain=True), "s2", web=2)
    assert act(fleet, drained, {"web": 3}).code == OK
    assert fleet["s1"].processes and fleet["s2"].processes
    before = {host: set(fleet[host].processes) for host in ("s1", "s2")}
    assert "known from s2 alone" in act(fleet, manifest("s2"), {"web": 4}).said
    outcome = act(fleet, manifest("s2"), {"web": 4}, trust=frozenset({"s2"}))
    assert outcome.code == OK and "servers.s1" in notes(outcome)
    assert all(before[host] <= set(fleet[host].processes) for host in before)


def test_a_server_that_has_another_name_in_the_tree_is_one_server() -> None:
    """Scaling and evacuating were refused: both names were the same machine."""
    fleet = deployed("s1", "s2", web=2, router=["s1"])
    outcome = act(fleet, manifest(Server("first", "s1"), "s2", router=["first"]), {"web": 3})
    assert outcome.code == OK, outcome.said
    assert len(running(fleet)) == 3 and set(upstreams(fleet["s1"])) == {"web.1", "web.2", "web.3"}
    fleet["s2"].shut_down()
    outcome = act(fleet, manifest(Server("first", "s1"), "s2", router=["first"]), evacuate=frozenset({"s2"}))
    assert outcome.code == OK, outcome.said
    assert len(fleet["s1"].processes) == 3


def test_servers_whose_names_were_given_to_others_keep_the_router() -> None:
    """It moved with the name to another machine, and the dynos that it led to were taken away from the old one."""
    fleet = deployed("s1", "s2", "s3", web=2, router=["s1"])
    assert fleet.apply(manifest("s1", "s2", "s3", web=2, slug="b", router=["s1"])).code == OK
    tree = manifest(Server("s1", "s2"), Server("s2", "s3"), Server("s3", "s1"), web=2, router=["s1"])
    before = {host: set(fleet[host].processes) for host in ALL}
    for outcome in (act(fleet, tree, {"web": 3}), go_back(fleet, tree)):
        assert outcome.code == OK, outcome.said
        assert set(upstreams(fleet["s1"])) == {"web.1", "web.2", "web.3"} and not upstreams(fleet["s2"])
        assert all(before[host] <= set(fleet[host].processes) for host in ALL)


def test_a_server_that_was_forgotten_does_not_come_back() -> None:
    """The apply that forgot it failed, so the settings in force still named it: each rollback waited for it."""
    fleet = deployed(*ALL, web=3, router=["s3"])
    tree = manifest("s1", "s2", web=3, slug="b", router=["s2"])
    assert fleet.apply(manifest(*ALL, web=3, slug="b", router=["s3"])).code == OK
    fleet["s3"].shut_down()
    fleet.fault("sim start", Kind.FAIL)
    assert fleet.apply(tree, forget=frozenset({"s3"})).code not in (OK, UNREACHABLE)
    assert go_back(fleet, tree).code == OK
    assert running(fleet) == dict.fromkeys(("web.1", "web.2", "web.3"), "a")


@pytest.mark.parametrize("command", ["rollback", "evacuate"])
def test_what_a_part_of_an_apply_brought_stays(command: str) -> None:
    """A rollback removed a worker and a schedule that were applied with --target, and an evacuation did not start them
    elsewhere."""
    fleet = deployed(*ALL, web=3)
    assert fleet.apply(manifest(*ALL, web=3, slug="b")).code == OK
    tree = manifest(*ALL, web=4, slug="b", worker=1, schedule=True)
    assert fleet.apply(tree, selection=Selection(("worker", "nightly"))).code == OK
    (home,) = (host for host in ALL if any(one.dyno == "worker.1" for one in fleet[host].processes.values()))
    if command == "rollback":
        outcome = go_back(fleet, tree, "v1")
    else:
        fleet[home].shut_down()
        outcome = act(fleet, tree, evacuate=frozenset({home}))
    assert outcome.code == OK and "left out" in notes(outcome) and "dynos.worker" not in notes(outcome)
    runs = "a" if command == "rollback" else "b"
    assert running(fleet) == dict.fromkeys(("web.1", "web.2", "web.3", "worker.1"), runs)
    assert sum(len(fleet[host].timers) for host in ALL if fleet[host].up) == 1


def test_a_router_that_only_a_part_of_an_apply_made_follows_a_scale() -> None:
    """It led on to a dyno that was removed."""
    fleet = deployed(web=3)
    tree = manifest(web=3, router=["s1", "s2"])
    fleet.fault("sim route", Kind.FAIL, host="s2")
    assert fleet.apply(tree).code not in (OK, UNREACHABLE) and len(upstreams(fleet["s1"])) == 3
    assert act(fleet, tree, {"web": 2}).code == OK
    assert set(upstreams(fleet["s1"])) == {"web.1", "web.2"} and not upstreams(fleet["s2"])
    assert act(fleet, manifest(web=2), {"web": 1}).code == OK
    assert not upstreams(fleet["s1"]), "it is in force nowhere, and the tree has none any more"


def test_an_edit_that_changes_nothing_on_the_servers_is_in_force_once_it_is_applied() -> None:
    """An apply said that there is nothing to do, and a scale that the edit is left out."""
    fleet = deployed(web=2)
    tree = manifest(web=2, rollout=Rollout(canary=1), keep=3)
    assert fleet.apply(tree).code == OK and fleet.pending(tree) == []
    outcome = act(fleet, tree, {"web": 3})
    assert outcome.code == OK and notes(outcome) == ""


def test_a_schedule_that_was_removed_while_its_server_was_away_stays_removed() -> None:
    """Nothing changed on the others, so nothing was recorded, and an evacuation started the schedule elsewhere."""
    fleet = deployed(*ALL, web=1, schedule=True)
    (home,) = (host for host in ALL if fleet[host].timers)
    fleet[home].shut_down()
    tree = manifest(*ALL, web=1)
    assert fleet.apply(tree).code == UNREACHABLE
    assert act(fleet, tree, evacuate=frozenset({home})).code == OK
    assert not any(fleet[host].timers for host in ALL if fleet[host].up)


def test_a_type_that_is_not_released_cannot_be_scaled() -> None:
    fleet = deployed()
    tree = manifest()
    tree = replace(tree, dynos={**tree.dynos, "api": DynoType("api", 1, command="api")})
    with pytest.raises(DynoctlError, match="cannot scale api: not a process type of the running release v1"):
        found = act(fleet, tree, {"api": 1})
        raise found.error or AssertionError(found)


def test_an_evacuation_starts_what_ran() -> None:
    fleet = deployed("s1", "s2", web=2, schedule=True)
    dead = next(host for host in ("s1", "s2") if fleet[host].timers)
    lives = "s1" if dead == "s2" else "s2"
    fleet[dead].shut_down()
    outcome = act(fleet, edited("s1", "s2"), evacuate=frozenset({dead}))
    assert outcome.code in (OK, UNREACHABLE), outcome.said
    assert {process.dyno for process in fleet[lives].processes.values()} == {"web.1", "web.2"}
    assert set(running(fleet).values()) == {"a"} and fleet[lives].timers == {"dyno-shop-nightly-1"}
    assert "the source" in notes(outcome)


def test_secrets_that_are_not_at_hand_do_not_stop_an_evacuation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "hunter2")
    keys = {"env": {"KEY": Reference("from_env", "SHOP_KEY")}}
    fleet = deployed("s1", "s2", **keys)
    fleet["s2"].shut_down()
    monkeypatch.delenv("SHOP_KEY")
    outcome = act(fleet, manifest("s1", "s2", **keys), evacuate=frozenset({"s2"}))  # type: ignore[arg-type]
    assert len(fleet["s1"].processes) == 2
    assert {process.release.config for process in fleet["s1"].processes.values()} == {"KEY=hunter2\n"}
    assert "cannot be read here" in notes(outcome) and "hunter2" not in notes(outcome)


def test_nothing_is_said_if_nothing_is_left_out() -> None:
    fleet = deployed()
    outcome = act(fleet, manifest(), {"web": 3})
    assert outcome.code == OK and "left out" not in notes(outcome)


ALL = ("s1", "s2", "s3")


def test_what_was_applied_while_a_server_was_away_stays_when_that_is_evacuated() -> None:
    """The settings of the last apply without a server away were in force again: what was new was removed."""
    fleet = deployed(*ALL, web=3)
    fleet["s3"].shut_down()
    tree = manifest(*ALL, web=3, worker=1, schedule=True, router=["s1"])
    assert fleet.apply(tree).code == UNREACHABLE
    outcome = act(fleet, tree, evacuate=frozenset({"s3"}))
    assert outcome.code == OK and notes(outcome) == "s3 is evacuated: web.3 moves to s1", outcome.said
    assert set(running(fleet)) == {"web.1", "web.2", "web.3", "worker.1"}
    assert fleet["s1"].timers or fleet["s2"].timers
    assert set(upstreams(fleet["s1"])) == {"web.1", "web.2", "web.3"}


def test_a_server_that_left_while_it_was_away_gets_no_new_dynos() -> None:
    fleet = deployed(*ALL, web=3)
    fleet["s3"].connected = False
    tree = manifest("s1", "s2", web=3)
    assert fleet.apply(tree).code == UNREACHABLE
    fleet["s3"].connected = True
    assert act(fleet, tree, {"web": 6}).code == OK
    assert not fleet["s3"].processes and len(running(fleet)) == 6


def test_what_runs_of_a_type_that_was_not_applied_completely_stays() -> None:
    """One worker started, and the other one failed."""
    fleet = deployed(*ALL, web=2)
    fleet.fault("sim start dyno-shop-worker-2", Kind.FAIL)
    tree = manifest(*ALL, web=2, worker=2, rollout=Rollout(max_failures=1))
    assert fleet.apply(tree).code != OK
    assert set(running(fleet)) == {"web.1", "web.2", "worker.1"}
    (dead,) = (host for host in ALL if any(one.dyno == "web.2" for one in fleet[host].processes.values()))
    fleet[dead].shut_down()
    act(fleet, tree, evacuate=frozenset({dead}))
    assert set(running(fleet)) == {"web.1", "web.2", "worker.1"}


@pytest.mark.parametrize("keep", [1, 5])
def test_no_more_dynos_start_from_a_release_that_failed(keep: int) -> None:
    """Evacuated dynos, which ran the release before, were started from it and failed, too."""
    fleet = deployed(*ALL, web=3, keep=keep)
    fleet.fleet.crashing.add(BAD)
    fleet.fault("restore", Kind.LOST_BEFORE)  # so that one dyno cannot go back
    tree = manifest(*ALL, web=3, slug="bad", keep=keep)
    assert fleet.apply(tree).code != OK
    assert sorted(running(fleet).values()) == ["a", "a", "bad"]
    (dead,) = (host for host in ALL if any(one.dyno == "web.3" for one in fleet[host].processes.values()))
    fleet[dead].shut_down()
    outcome = act(fleet, tree, evacuate=frozenset({dead}))
    assert outcome.code == OK and running(fleet)["web.3"] == "a", outcome.said
    assert "left out, as v1 runs on: the source" in notes(outcome)
    assert running(fleet)["web.1"] == "bad", "it is not changed"
    fleet[dead].boot_up()
    tree = manifest(*ALL, web=3, keep=keep)
    assert fleet.apply(tree).code == OK and fleet.pending(tree) == []
    assert set(running(fleet).values()) == {"a"}


def test_a_rollback_that_is_unfinished_is_what_more_dynos_start_from() -> None:
    fleet = deployed()
    assert fleet.apply(manifest(slug="b")).code == OK
    fleet.fault("sim start", Kind.KILL_BEFORE, nth=2)
    assert fleet.rollback(manifest(slug="b")).code == KILLED
    act(fleet, manifest(slug="b"), {"web": 3})
    assert running(fleet)["web.3"] == "a"


def test_a_rollback_leaves_out_what_is_edited_in_the_tree() -> None:
    """It changed numbers, limits, routers and servers on the way."""
    fleet = deployed("s1", "s2", "s3", worker=1, router=["s1"])
    assert fleet.apply(manifest("s1", "s2", "s3", slug="b", worker=1, router=["s1"])).code == OK
    outcome = go_back(fleet, edited("s1", "s2", web=4))
    assert outcome.code == OK, outcome.said
    assert running(fleet) == {"web.1": "a", "web.2": "a", "worker.1": "a"}
    assert set(upstreams(fleet["s1"])) == {"web.1", "web.2"} and not upstreams(fleet["s2"])
    assert not any(server.timers for server in fleet.fleet.servers.values())
    said = notes(outcome)
    assert "left out: dynos.web; dynos.worker; schedule.nightly; router; servers.s3; to include it: " in said
    assert fleet.pending(manifest("s1", "s2", "s3", worker=1, router=["s1"])) == []


def test_a_rollback_after_an_apply_that_failed_keeps_the_numbers() -> None:
    fleet = deployed("s1", "s2", web=3, worker=1)
    assert fleet.apply(manifest(slug="b", web=3, worker=1)).code == OK
    assert act(fleet, manifest(slug="b", web=3, worker=1), {"web": 5}).code == OK
    assert go_back(fleet, manifest(slug="b", web=3, worker=1)).code == OK
    assert len(running(fleet)) == 6 and set(running(fleet).values()) == {"a"}


def test_a_dead_server_is_evacuated_while_another_one_is_forgotten() -> None:
    """What was edited was deployed with it."""
    fleet = deployed(*ALL, web=3)
    for host in ("s2", "s3"):
        fleet[host].shut_down()
    tree = manifest("s1", "s2", slug="b", web=5)
    outcome = act(fleet, tree, evacuate=frozenset({"s2"}), forget=frozenset({"s3"}))
    assert outcome.code == OK, outcome.said
    assert running(fleet) == dict.fromkeys(("web.1", "web.2", "web.3"), "a")
    assert "the source" in notes(outcome) and "servers.s3" not in notes(outcome)


@pytest.mark.parametrize("command", ["scale", "rollback"])
def test_settings_that_another_apply_changed_meanwhile_are_not_brought_back(command: str) -> None:
    """A rollback that had waited for a lock removed the dynos that were added by the apply that it waited for."""
    fleet = deployed("s1", "s2")
    tree = manifest(slug="b")
    assert fleet.apply(tree).code == OK
    sessions: dict[str, Any] = {}
    with mock.patch("infra.fleet.ask.Session", fleet.fleet.connect):
        if command == "scale":
            found = releases.running(APP, targets(tree), REGISTRY.fits, sessions)
            assert found is not None
            model, request = engine.request(tree, engine.Running(*found), REGISTRY, Request(), {"web": 3})
        else:
            model, request = engine.rollback(
                tree, *releases.stored(APP, None, targets(tree), REGISTRY.fits, sessions), Request()
            )
    assert fleet.apply(manifest(slug="b", web=4)).code == OK
    with pytest.raises(StalePlan):
        prepare(model, REGISTRY, request, connect=fleet.fleet.connect, sessions=sessions)
    assert len(running(fleet)) == 4


def test_sizes_of_volumes_that_are_edited_are_left_out() -> None:
    """They were taken from the file: a size that cannot be, such as a smaller one, refused to start more dynos."""

    def tree(size: int, slug: str = "a") -> Manifest:
        return manifest("s1", web=1, worker=1, slug=slug, volumes=(Volume("data", "data", ("worker",), size=size),))

    fleet = Simulation("s1")
    assert fleet.apply(tree(2 << 30)).code == OK
    assert fleet.apply(tree(2 << 30, "b")).code == OK
    made: list[int] = []
    fleet.on_ready = lambda ready: made.extend(volume.size for volume in ready.stack.volumes)
    scaled = act(fleet, tree(1 << 30, "c"), {"web": 2})
    assert scaled.code == OK and "volumes.data" in notes(scaled), scaled.said
    back = go_back(fleet, tree(1 << 30, "c"))
    assert back.code == OK and "volumes.data" in notes(back), back.said
    assert made == [2 << 30, 2 << 30]
    gone = replace(tree(0), volumes=())
    assert act(fleet, gone, {"web": 1}).code == OK and made[-1] == 2 << 30, "also of one that was removed from the file"


def test_a_size_that_no_apply_recorded_is_the_one_that_is_written() -> None:
    assert [config.sizes(recorded) for recorded in (None, {}, {"sizes": {"data": "big"}}, {"sizes": [1]})] == [{}] * 4
    now = config.document(manifest(volumes=(Volume("data", "data", size=1 << 30),)))
    before = {key: value for key, value in now.items() if key != "sizes"}
    assert config.sizes(now) == {"data": 1 << 30} and config.differing(now, before) == []
