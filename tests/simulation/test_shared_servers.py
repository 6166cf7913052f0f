"""Apps that share servers: the plan of one is no matter of the other, their applies wait for each other, and say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.engine import plan_file
from infra.errors import ERROR, OK, DynoctlError
from infra.fleet import lock
from infra.model import lock_holder
from infra.model.resource import Action
from infra.views import plan_json
from tests.simulation.app import deployed
from tests.simulation.harness import APP, Simulation, manifest

BLOG = "blog"
HOLDER = "ann@desk since 2026-11-28T17:30:00Z (pid 7), applying v2"


def both() -> Simulation:
    fleet = deployed()
    assert fleet.apply(manifest(app=BLOG)).code == OK
    return fleet


def test_another_app_on_the_servers_makes_no_plan_stale() -> None:
    fleet = both()
    busier = manifest(app=BLOG, web=4, slug="b", router=["s1"])
    outcome = fleet.apply(manifest(slug="b"), before=lambda: fleet.apply(busier))
    assert outcome.code == OK, outcome.said
    assert fleet.pending(manifest(slug="b")) == [] and fleet.pending(busier) == []


def test_a_port_that_another_app_took_meanwhile_makes_a_plan_stale() -> None:
    """Both planned the same port for a dyno that is new."""
    fleet = both()
    more = manifest(web=4)
    outcome = fleet.apply(more, before=lambda: fleet.apply(manifest(app=BLOG, web=4)))
    assert outcome.code == ERROR and "stale plan" in str(outcome.error)
    assert fleet.apply(more).code == OK
    ports = [(host, process.port) for host in ("s1", "s2") for process in fleet[host].processes.values()]
    assert len(set(ports)) == len(ports) == 8


def test_room_that_another_app_took_meanwhile_makes_a_plan_stale() -> None:
    fleet = Simulation("s1", cores=1)
    assert fleet.apply(manifest("s1", web=1)).code == OK
    outcome = fleet.apply(manifest("s1", web=3), before=lambda: fleet.apply(manifest("s1", app=BLOG, web=3)))
    assert outcome.code == ERROR and "stale plan" in str(outcome.error)
    assert len(fleet["s1"].processes) == 4


def test_what_was_applied_meanwhile_makes_a_plan_stale() -> None:
    fleet = deployed()
    outcome = fleet.apply(manifest(slug="b"), before=lambda: fleet.apply(manifest(slug="c")))
    assert outcome.code == ERROR and "stale plan: s1, s2 changed" in str(outcome.error)


def test_a_repair_of_what_needs_none_any_more_is_stale() -> None:
    fleet = deployed("s1")
    fleet["s1"].stop("dyno-shop-web-1")

    def meanwhile() -> None:
        fleet["s1"].start("dyno-shop-web-1")

    outcome = fleet.apply(manifest("s1"), before=meanwhile)
    assert outcome.code == ERROR and "stale plan" in str(outcome.error)


def test_a_saved_plan_is_applied_though_another_app_changed(tmp_path: Path) -> None:
    fleet = both()
    wanted, file = manifest(slug="b"), tmp_path / "plan"
    ready = fleet.plan(wanted)
    plan_file.write(file, ready, plan_json.document(ready.plan, {"connections": 2, "execs": 2}))
    assert fleet.apply(manifest(app=BLOG, web=3)).code == OK
    again = fleet.plan(wanted)
    plan_file.refuse_changed(file, plan_file.read(file), again, plan_json.document(again.plan, {}))

    fleet.apply(manifest(web=3))
    other = fleet.plan(wanted)
    with pytest.raises(DynoctlError, match="s1 changed"):
        plan_file.refuse_changed(file, plan_file.read(file), other, plan_json.document(other.plan, {}))


def test_another_apps_apply_is_waited_for_and_named() -> None:
    fleet = both()
    fleet["s2"].locks[BLOG] = HOLDER
    began = fleet.fleet.clock.monotonic()
    fleet.fleet.events[fleet.fleet.count + 200] = fleet["s2"].locks.clear
    outcome = fleet.apply(manifest(slug="b"))
    assert outcome.code == OK
    waited = fleet.fleet.clock.monotonic() - began
    assert 5 < waited < lock.OTHERS
    notes = [event.text for event in outcome.events if event.kind == "note"]
    assert notes == [f"an apply of blog is running: {lock_holder.words(HOLDER)}; waiting for it to end"]


@pytest.mark.parametrize("timeout", [0, 40, None])
def test_another_apps_apply_is_waited_for_as_long_as_the_lock_timeout_is(timeout: int | None) -> None:
    fleet = both()
    fleet["s2"].locks[BLOG] = HOLDER
    began = fleet.fleet.clock.monotonic()
    outcome = fleet.apply(manifest(slug="b"), lock_timeout=timeout)
    assert outcome.code == ERROR and f"s2: an apply of blog is running: {lock_holder.words(HOLDER)}" in str(
        outcome.error
    )
    limit = lock.OTHERS if timeout is None else timeout
    assert limit <= fleet.fleet.clock.monotonic() - began < limit + 5
    assert not fleet["s1"].locks, "whoever waits holds nothing"


def test_an_apply_of_the_same_app_is_not_waited_for_by_default() -> None:
    fleet = deployed()
    fleet["s2"].locks[APP] = HOLDER
    began = fleet.fleet.clock.monotonic()
    assert fleet.apply(manifest(slug="b")).code == ERROR
    assert fleet.fleet.clock.monotonic() - began < 5


def test_a_plan_says_who_applies_and_takes_nothing_half_done_for_drift() -> None:
    fleet = deployed()
    fleet["s1"].files["/etc/dyno/shop/web.1.env"] = fleet["s2"].files["/etc/dyno/shop/web.2.env"] = "MODE=new\n"
    for host in ("s1", "s2"):
        fleet[host].version += 1
        fleet[host].locks[APP] = HOLDER
    fleet["s1"].files["/var/lib/dynoctl/shop/pending/web.1"] = "changing\n"
    plan = fleet.plan(manifest()).plan
    assert [holder.doing for holder in plan.applying] == ["applying v2"]
    assert plan.changes and not any(change.drift or change.drifted for change in plan.changes)
    reasons = {change.reason for change in plan.changes if change.action is not Action.RESTART}
    assert reasons == {""} and not any("interrupted" in change.reason for change in plan.changes)

    for host in ("s1", "s2"):
        fleet[host].locks.clear()
    plan = fleet.plan(manifest()).plan
    assert plan.applying == () and any(change.drift for change in plan.changes)


def test_an_apply_says_what_it_does() -> None:
    fleet = deployed()
    held: list[str] = []

    def listen() -> None:
        held.extend(str(holder.holder) for holder in fleet["s1"].locks.values())  # type: ignore[attr-defined]

    for number in range(5, 80):
        fleet.fleet.events[fleet.fleet.count + number] = listen
    assert fleet.apply(manifest(slug="b")).code == OK
    assert held and all(text.endswith(", applying v2") for text in held)
    for options, words in (
        ({"stored": fleet.stored(manifest())}, "rolling back to v1"),
        ({"destroy": True}, "destroy"),
    ):
        ready = fleet.plan(manifest(slug="b"), **options)
        assert ready.doing.startswith(words)


def test_a_restart_of_what_went_meanwhile_is_stale() -> None:
    """It waited for an apply that moved the dynos, and would have restarted what is not there."""
    fleet = deployed("s1", "s2")
    outcome = fleet.restart(manifest("s1", "s2"), before=lambda: fleet.apply(manifest("s1")))
    assert outcome.code == ERROR and "web.2 is no longer on s2; nothing was restarted" in str(outcome.error)
