"""Every way in which an apply can end: its report, its exit code, and what the servers then run."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from infra.errors import ERROR, OK, REJECTED, UNREACHABLE
from infra.manifest.model import Manifest, Rollout, Server, Volume
from infra.model.events import Event
from infra.model.resource import Action
from infra.model.stack import Stack, Trial
from infra.plan.selection import Selection
from tests.simulation.app import BAD, deployed, report, running, slugs
from tests.simulation.faults import Kind
from tests.simulation.harness import APP, KILLED, Simulation, manifest
from tests.simulation.registry import SimRegistry, digest
from tests.simulation.server import STATE


def test_ok() -> None:
    fleet = deployed(worker=1, router=["s1"], schedule=True)
    assert running(fleet) == {"web.1": "a", "web.2": "a", "worker.1": "a"}
    outcome = fleet.apply(manifest(slug="b", worker=1, router=["s1"], schedule=True))
    assert outcome.code == OK and report(outcome).ok
    assert running(fleet) == {"web.1": "b", "web.2": "b", "worker.1": "b"}
    assert fleet.pending(manifest(slug="b", worker=1, router=["s1"], schedule=True)) == []


def test_the_audit_log_and_the_report_tell_the_same_time() -> None:
    """``history`` counted from the lock, and the last line of ``apply`` from the plan."""
    fleet = deployed()
    began = fleet.fleet.clock.monotonic()
    fleet.fleet.clock.advance(7.3)  # planning
    outcome = fleet.apply(manifest(slug="b"), began=began)
    logged = json.loads(fleet["s1"].files[f"{STATE}/{APP}/audit.jsonl"].splitlines()[-1])
    assert logged["seconds"] == report(outcome).seconds >= 7.3


def test_a_web_dyno_and_a_schedule_with_one_volume_are_on_one_server() -> None:
    """They landed on two, and the plan was refused."""
    both = manifest(web=1, schedule=True, volumes=(Volume("uploads", "public"),))
    fleet = Simulation("s1", "s2")
    assert fleet.apply(both).code == OK
    homes = [{*server.processes, *server.timers} for server in fleet.fleet.servers.values()]
    assert {"dyno-shop-web-1", "dyno-shop-nightly-1"} in homes
    assert fleet.pending(both) == []


def test_nothing_to_do_touches_nothing() -> None:
    fleet = deployed()
    versions = [server.version for server in fleet.fleet.servers.values()]
    outcome = fleet.apply(manifest())
    assert (outcome.code, outcome.report) == (OK, None)
    assert versions == [server.version for server in fleet.fleet.servers.values()]


def test_a_candidate_that_does_not_answer_rejects_the_release() -> None:
    fleet = deployed()
    fleet.fleet.bad.add(BAD)
    outcome = fleet.apply(manifest(slug="bad"))
    assert outcome.code == REJECTED and report(outcome).rejected
    assert "its candidate did not become healthy" in outcome.said
    assert running(fleet) == {"web.1": "a", "web.2": "a"}
    assert fleet.apply(manifest()).code == OK


def test_a_release_command_that_fails_rejects_the_release() -> None:
    fleet = deployed()
    fleet.fleet.bad_commands.add(digest("/b"))
    outcome = fleet.apply(manifest(slug="b", release_command="migrate"))
    assert outcome.code == REJECTED and "the release command failed" in outcome.said
    assert running(fleet) == {"web.1": "a", "web.2": "a"}


def test_a_release_command_runs_once() -> None:
    fleet = deployed()
    outcome = fleet.apply(manifest(slug="b", release_command="migrate"))
    assert outcome.code == OK and report(outcome).release_output == "migrated"
    fleet["s1"].processes.clear()
    fleet["s1"].version += 1
    assert report(fleet.apply(manifest(slug="b", release_command="migrate"))).release_output == ""


def test_a_release_command_has_the_volumes_of_web_dynos_that_its_server_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """It failed where the directories of its volumes do not exist."""
    had: list[list[str]] = []
    release = SimRegistry.release

    def spy(self: SimRegistry, wanted: Manifest, stack: Stack, *more: Any) -> Trial:
        had.append([volume.name for volume in stack.volumes])
        return release(self, wanted, stack, *more)

    monkeypatch.setattr(SimRegistry, "release", spy)
    keys: Any = {"web": 1, "worker": 1, "volumes": (Volume("uploads", "public", ("web",)),)}
    fleet = Simulation("s1", "s2")
    fleet.apply(manifest(**keys))
    keys["release_command"] = "migrate"
    assert fleet.apply(manifest(slug="b", **keys), selection=Selection(targets=("worker",))).code == OK
    assert fleet.apply(manifest(slug="c", **keys)).code == OK
    assert had == [[], ["uploads"]]

    stack = SimRegistry.stack
    sqlite = ("public/production.sqlite3",)
    monkeypatch.setattr(SimRegistry, "stack", lambda self, wanted: replace(stack(self, wanted), sqlite=sqlite))
    outcome = fleet.apply(manifest(slug="d", **keys), selection=Selection(targets=("worker",)))
    assert outcome.code == ERROR and "the database is in the volume uploads, which is on another server" in outcome.said
    assert fleet.apply(manifest(slug="d", **keys)).code == OK


def test_a_release_command_of_a_killed_apply_is_waited_for() -> None:
    fleet = deployed()
    fleet.fault("sim run-release", Kind.KILL_HALF)
    wanted = manifest(slug="b", release_command="migrate")
    assert fleet.apply(wanted).code == KILLED
    outcome = fleet.apply(wanted)
    assert outcome.code == ERROR and "still runs" in outcome.said
    fleet.fleet.clock.advance(60)
    outcome = fleet.apply(wanted)
    assert outcome.code == OK and report(outcome).release_output == "", "it ended well while nobody waited for it"


def test_a_release_command_on_a_server_that_is_lost_may_still_run() -> None:
    fleet = deployed("s1", "s2", "s3")
    wanted = manifest("s1", "s2", "s3", web=3, slug="b", release_command="migrate")
    fleet.fault("sim run-release", Kind.LOST_HALF)
    assert fleet.apply(wanted).code == ERROR
    on = next(name for name in ("s1", "s2", "s3") if fleet[name].one_offs)
    fleet[on].connected = False
    outcome = fleet.apply(wanted)
    assert outcome.plan is not None
    assert any("may still be running" in error.summary for error in outcome.plan.errors)
    fleet[on].connected = True
    fleet.fleet.clock.advance(60)
    assert fleet.apply(wanted).code == OK


def test_a_dyno_that_does_not_come_up_is_reverted() -> None:
    fleet = deployed()
    fleet.fault("sim start", Kind.FAIL, nth=2)
    outcome = fleet.apply(manifest(slug="b"))
    assert outcome.code == REJECTED
    assert report(outcome).halted and report(outcome).fully_reverted and report(outcome).reverted == ["web.2", "web.1"]
    assert "last words" in outcome.said
    assert running(fleet) == {"web.1": "a", "web.2": "a"}


def test_a_dyno_that_does_not_stay_up_is_reverted() -> None:
    fleet = deployed()
    fleet.fleet.late.add(digest("/b"))
    outcome = fleet.apply(manifest(slug="b", rollout=Rollout(min_healthy_time=30)))
    assert outcome.code == REJECTED and report(outcome).reverted == ["web.1"]
    assert running(fleet) == {"web.1": "a", "web.2": "a"}


def test_a_worker_that_exits_seconds_after_its_start_is_reverted() -> None:
    """It answers no request, so only its staying up shows that it works. A web dyno has answered."""
    fleet = deployed(worker=1)
    fleet.fleet.late.add(digest("/b"))
    outcome = fleet.apply(manifest(slug="b", worker=1))
    assert outcome.code == REJECTED and "worker.1" in report(outcome).reverted
    assert running(fleet) == {"web.1": "a", "web.2": "a", "worker.1": "a"}
    fleet = deployed(worker=1)
    fleet.fleet.late.add(digest("/b"))
    assert fleet.apply(manifest(slug="b", worker=1, rollout=Rollout(min_healthy_time=0))).code == OK


def test_a_server_that_is_lost_while_it_is_looked_at() -> None:
    fleet = deployed()
    fleet.fault("sim alive", Kind.OFF)
    outcome = fleet.apply(manifest(slug="b", rollout=Rollout(min_healthy_time=30)))
    assert outcome.code == UNREACHABLE


def test_without_auto_revert_the_rollout_stops_where_it_is() -> None:
    fleet = deployed()
    fleet.fault("sim start", Kind.FAIL, nth=2)
    outcome = fleet.apply(manifest(slug="b", rollout=Rollout(auto_revert=False)))
    assert outcome.code == ERROR and report(outcome).halted and not report(outcome).reverted
    assert running(fleet)["web.1"] == "b"


def test_a_new_dyno_that_does_not_come_up_halts_the_apply() -> None:
    fleet = deployed()
    fleet.fault("sim start", Kind.FAIL)
    outcome = fleet.apply(manifest(web=3, slug="b"))
    assert outcome.code == REJECTED and report(outcome).halted and report(outcome).reverted == ["web.3"]
    assert running(fleet) == {"web.1": "a", "web.2": "a"}


def test_a_dyno_whose_server_is_lost_is_stranded() -> None:
    fleet = deployed()
    first = next(name for name in ("s1", "s2") if "web.1" in slugs(fleet[name]))
    fleet.fault("sim start", Kind.FAIL, nth=2)
    fleet.fault("restore", Kind.OFF, host=first)
    outcome = fleet.apply(manifest(slug="b"))
    assert outcome.code == UNREACHABLE
    assert report(outcome).stranded == [f"web.1 on {first}"] and report(outcome).reverted == ["web.2"]
    fleet[first].boot_up()
    assert fleet.apply(manifest()).code == OK
    assert running(fleet) == {"web.1": "a", "web.2": "a"}


def test_a_dyno_that_cannot_go_back_is_stranded() -> None:
    fleet = deployed()
    fleet.fault("sim start", Kind.FAIL)
    fleet.fault("restore", Kind.FAIL)
    outcome = fleet.apply(manifest(slug="b"))
    assert outcome.code == ERROR and "cannot revert web.1" in outcome.said
    assert len(report(outcome).stranded) == 1 and not report(outcome).fully_reverted


def test_a_server_that_is_lost_before_a_revert_strands_its_dynos() -> None:
    fleet = deployed("s1", "s2", web=4)
    fleet.fault("sim start", Kind.FAIL, nth=4)
    first = next(name for name in ("s1", "s2") if "web.4" in slugs(fleet[name]))
    fleet.fault("restore", Kind.LOST_BEFORE, host=first)
    outcome = fleet.apply(manifest(slug="b", web=4))
    assert outcome.code == UNREACHABLE and len(report(outcome).stranded) == 2


def test_ctrl_c_ends_after_the_step_under_way() -> None:
    fleet = deployed()

    def pressed(event: Event) -> bool:
        return event.kind == "done" and event.subject == "web.1"

    outcome = fleet.apply(manifest(slug="b"), stop=pressed)
    assert outcome.code == ERROR and report(outcome).interrupted
    assert running(fleet) == {"web.1": "b", "web.2": "a"}
    assert fleet.apply(manifest(slug="b")).code == OK


def test_ctrl_c_before_a_gate_begins_nothing() -> None:
    fleet = deployed()
    outcome = fleet.apply(manifest(slug="b", release_command="migrate"), stop=lambda event: event.text == "prepare")
    assert report(outcome).interrupted and not report(outcome).done
    assert running(fleet) == {"web.1": "a", "web.2": "a"}


def test_a_server_that_does_not_answer_is_named_and_left_alone() -> None:
    fleet = deployed()
    fleet["s2"].connected = False
    outcome = fleet.apply(manifest(slug="b"))
    assert outcome.code == UNREACHABLE and outcome.plan is not None and outcome.plan.missed == ("s2",)
    assert slugs(fleet["s2"]) in ({"web.1": "a"}, {"web.2": "a"})
    assert fleet.apply(manifest(slug="b"), skip_unreachable=True).code == OK
    fleet["s2"].connected = True
    assert fleet.apply(manifest(slug="b")).code == OK
    assert running(fleet) == {"web.1": "b", "web.2": "b"}


def test_a_server_that_is_lost_in_the_middle_skips_what_it_should_have_made() -> None:
    fleet = deployed()
    fleet.fault("sim seal", Kind.OFF, host="s2")
    outcome = fleet.apply(manifest(slug="b"))
    assert outcome.code == UNREACHABLE
    assert {change.resource.server for change in report(outcome).skipped} == {"s2"}
    assert list(slugs(fleet["s1"]).values()) == ["b"]


def test_a_server_that_cannot_be_looked_at_under_the_lock_ends_the_apply() -> None:
    fleet = deployed()
    fleet.fault("observe", Kind.LOST_BEFORE, nth=3)
    outcome = fleet.apply(manifest(slug="b"))
    assert (outcome.code, outcome.report) == (UNREACHABLE, None)
    assert running(fleet) == {"web.1": "a", "web.2": "a"}


def test_a_plan_that_is_stale_is_refused() -> None:
    fleet = deployed()

    def meanwhile() -> None:
        fleet.fleet.servers["s1"].processes.clear()
        fleet.fleet.servers["s1"].version += 1

    outcome = fleet.apply(manifest(slug="b"), before=meanwhile)
    assert outcome.code == ERROR and "stale" in str(outcome.error)


def test_a_lock_that_is_taken_is_said() -> None:
    fleet = deployed()
    fleet["s2"].locks[APP] = "somebody@else since noon"
    outcome = fleet.apply(manifest(slug="b"))
    assert outcome.code == ERROR and "somebody@else" in str(outcome.error)
    assert not fleet["s1"].locks


def test_a_lock_is_waited_for() -> None:
    fleet = deployed()
    fleet["s2"].locks[APP] = "somebody@else"
    fleet.fleet.events[fleet.fleet.count + 20] = fleet["s2"].locks.clear
    outcome = fleet.apply(manifest(slug="b"), lock_timeout=60)
    assert outcome.code == OK
    assert next(event.text for event in outcome.events if event.kind == "note").startswith("another apply is running")


def test_a_lock_is_not_waited_for_for_ever() -> None:
    fleet = deployed()
    fleet["s2"].locks[APP] = "somebody@else"
    assert fleet.apply(manifest(slug="b"), lock_timeout=5).code == ERROR


def test_a_server_that_never_answers_again_is_forgotten() -> None:
    fleet = deployed("s1", "s2", "s3", web=3)
    fleet["s3"].shut_down()
    two = manifest("s1", "s2", web=3)
    assert fleet.apply(two).code == UNREACHABLE
    assert fleet.apply(two, forget=frozenset({"s3"})).code == OK
    assert fleet.pending(two) == []
    assert "cannot forget s9" in str(fleet.apply(two, forget=frozenset({"s9"})).error)


def test_a_server_that_answers_is_not_forgotten() -> None:
    fleet = deployed("s1", "s2", "s3", web=3)
    assert "cannot forget s3: reachable" in str(
        fleet.apply(manifest("s1", "s2", web=3), forget=frozenset({"s3"})).error
    )


def test_a_dead_server_is_evacuated() -> None:
    fleet = deployed()
    fleet["s2"].shut_down()
    assert fleet.apply(manifest(), evacuate=frozenset({"s2"})).code == OK
    assert set(slugs(fleet["s1"])) == {"web.1", "web.2"}
    fleet["s2"].boot_up()
    assert fleet.apply(manifest()).code == OK
    assert slugs(fleet["s2"]) == {}, "what came back beside its replacement is removed"


def test_a_server_that_drains_is_emptied() -> None:
    fleet = deployed()
    drained = manifest("s1", Server("s2", "s2", drain=True))
    assert fleet.apply(drained).code == OK
    assert not fleet["s2"].processes and not [path for path in fleet["s2"].files if f"/{APP}/" in path]
    assert fleet.pending(drained) == []


def test_only_a_part_is_applied() -> None:
    fleet = deployed()
    outcome = fleet.apply(manifest(slug="b"), selection=Selection(targets=("web.1",)))
    assert outcome.code == OK and outcome.plan is not None and outcome.plan.left_out
    assert running(fleet) == {"web.1": "b", "web.2": "a"}
    assert fleet.apply(manifest(slug="b"), selection=Selection(excludes=("nothing",))).code == ERROR


def test_a_dyno_is_replaced_though_nothing_changed() -> None:
    fleet = deployed()
    outcome = fleet.apply(manifest(), selection=Selection(replaces=("web.1",)))
    assert [(change.action, change.resource.dyno) for change in report(outcome).done] == [(Action.RESTART, "web.1")]


def test_destroy_leaves_nothing() -> None:
    fleet = deployed(worker=1, router=["s1"], schedule=True)
    assert fleet.destroy(manifest(worker=1, router=["s1"], schedule=True)).code == OK
    for server in fleet.fleet.servers.values():
        assert not server.files and not server.processes and not server.timers and not server.lock_files
    assert fleet.destroy(manifest()).code == OK


def test_destroy_is_finished_once_a_server_is_back() -> None:
    fleet = deployed()
    fleet["s2"].connected = False
    assert fleet.destroy(manifest()).code == UNREACHABLE
    fleet["s2"].connected = True
    assert fleet.destroy(manifest()).code == OK
    assert not fleet["s2"].files


def test_destroy_with_a_server_away_that_left() -> None:
    fleet = deployed("s1", "s2", "s3", web=3)
    fleet["s3"].connected = False
    assert fleet.destroy(manifest("s1", "s2", web=3)).code == UNREACHABLE
    assert [path for path in fleet["s1"].files if path.endswith("meta.json")], "nobody else knows that s3 is left"


def test_a_restart_starts_a_dyno_that_is_down() -> None:
    fleet = deployed(web=2)
    server = next(server for server in fleet.fleet.servers.values() if "dyno-shop-web-1" in server.processes)
    server.stop("dyno-shop-web-1")
    outcome = fleet.restart(manifest("s1", "s2", web=2), "web.1")
    assert outcome.code == OK, outcome.error
    assert set(running(fleet)) == {"web.1", "web.2"}
