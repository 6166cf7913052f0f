"""One-off dynos that are under way: they keep what they need until they end, whatever happens to the other dynos."""

from __future__ import annotations

import pytest

from infra.errors import ERROR, OK
from infra.manifest.model import Manifest, Server
from tests.simulation.app import deployed, slugs
from tests.simulation.faults import Kind
from tests.simulation.harness import APP, Simulation, manifest
from tests.simulation.registry import digest
from tests.simulation.server import STATE

HOUR = 3600


def running(**keys: object) -> Simulation:
    """A fleet with a one-off dyno on s2, for an hour."""
    fleet = deployed(**keys)
    assert fleet["s2"].run(APP, HOUR)
    return fleet


def slug(fleet: Simulation, name: str = "a") -> bool:
    return fleet["s2"].slug(APP, digest(f"/{name}")) is not None


EMPTIED = {
    "drains": manifest("s1", Server("s2", "s2", drain=True)),
    "has no dynos": manifest("s1", Server("s2", "s2", dynos=False)),
    "left": manifest("s1"),
    "scaled down": manifest("s1", "s2", web=0),
}


@pytest.mark.parametrize("wanted", EMPTIED.values(), ids=EMPTIED)
def test_the_last_dyno_leaves_a_one_off_dyno_behind(wanted: Manifest) -> None:
    """The slice of the app was stopped with its last dyno, and the one-off dyno in it."""
    fleet = running()
    outcome = fleet.apply(wanted)
    assert outcome.code == OK and outcome.plan is not None, outcome.said
    assert "kept on s2 until run.1 ends: the slug and what else a one-off dyno needs" in outcome.plan.notes
    assert not slugs(fleet["s2"]) and fleet["s2"].one_offs and slug(fleet)
    assert fleet.pending(wanted) == [], "nothing is to do until it ends"
    fleet.fleet.clock.advance(HOUR)
    assert fleet.apply(wanted).code == OK
    assert not slug(fleet) and fleet.pending(wanted) == []
    if "s2" not in [server.name for server in wanted.servers] or wanted.servers[1].drain:
        assert not [path for path in fleet["s2"].files if path.startswith(f"{STATE}/{APP}")]


def test_its_slug_outlives_those_that_are_kept() -> None:
    fleet = running(keep=1)
    for name in ("b", "c"):
        assert fleet.apply(manifest(slug=name, keep=1)).code == OK
    assert slug(fleet) and not slug(fleet, "b") and slug(fleet, "c"), "that of b was nobody's"
    fleet.fleet.clock.advance(HOUR)
    assert fleet.apply(manifest(slug="c", keep=1)).code == OK
    assert not slug(fleet)


def test_destroy_is_refused_while_it_runs() -> None:
    fleet = running()
    outcome = fleet.destroy(manifest())
    assert outcome.code == ERROR and outcome.report is None and outcome.plan is not None
    (error,) = outcome.plan.errors
    assert error.summary == "run.1 is running on s2" and "--end-runs" in str(error.hint)
    assert fleet["s2"].one_offs and slugs(fleet["s2"])
    fleet.fleet.clock.advance(HOUR)
    assert fleet.destroy(manifest()).code == OK


def test_destroy_may_end_it() -> None:
    fleet = running()
    fleet.fleet.watch.clear()
    assert fleet.destroy(manifest(), end_runs=True).code == OK
    for server in fleet.fleet.servers.values():
        assert not server.files and not server.one_offs


@pytest.mark.parametrize("destroy", [True, False])
def test_one_that_was_started_after_the_plan_keeps_what_it_needs(destroy: bool) -> None:
    fleet = deployed()
    outcome = fleet.apply(manifest("s1"), destroy=destroy, before=lambda: fleet["s2"].run(APP, HOUR))
    assert outcome.code == ERROR and "stale" in str(outcome.error)
    assert fleet["s2"].one_offs and slug(fleet)


def test_one_that_ends_after_the_plan_changes_nothing() -> None:
    fleet = running()
    assert fleet.apply(manifest("s1"), before=lambda: fleet["s2"].one_offs.clear()).code == OK


def test_one_that_is_started_during_an_apply_keeps_the_records() -> None:
    fleet = deployed()
    fleet.fleet.events[fleet.fleet.count + 30] = lambda: fleet["s2"].run(APP, HOUR)
    outcome = fleet.apply(manifest("s1"))
    if fleet["s2"].one_offs:
        assert outcome.code == ERROR
        assert f"{STATE}/{APP}/meta.json" in fleet["s2"].files
    fleet.fleet.clock.advance(HOUR)
    assert fleet.apply(manifest("s1")).code == OK
    assert not [path for path in fleet["s2"].files if APP in path]


def test_a_release_command_of_an_apply_that_was_killed_keeps_its_slug() -> None:
    fleet = deployed()
    fleet.fault("sim run-release", Kind.KILL_HALF)
    fleet.apply(manifest(slug="b", release_command="migrate"))
    on = next(name for name in ("s1", "s2") if fleet[name].one_offs)
    wanted = manifest("s1", "s2", slug="a")
    outcome = fleet.apply(wanted)
    assert outcome.code == OK
    assert fleet[on].slug(APP, digest("/b")), "it is still at work"
    fleet.fleet.clock.advance(HOUR)
    assert fleet.apply(wanted).code == OK
    assert not fleet[on].slug(APP, digest("/b"))
