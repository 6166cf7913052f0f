"""What stands in the way of an apply: somebody else's things, checks, packages and slugs that do not arrive."""

from __future__ import annotations

from infra.errors import ERROR, OK
from infra.manifest.model import Checks, Packages
from tests.simulation.app import deployed, slugs
from tests.simulation.faults import Kind
from tests.simulation.harness import APP, Simulation, manifest
from tests.simulation.server import UNITS


def test_somebody_elses_unit_is_not_touched() -> None:
    fleet = Simulation("s1")
    fleet["s1"].write(f"{UNITS}/dyno-shop-web-1.service", "app=other\ndyno=web.1\nport=1\ncpu=1\nslug=x\nconfig=x\n")
    outcome = fleet.apply(manifest("s1", web=1))
    assert outcome.code == ERROR and outcome.plan is not None
    assert "was not created by dynoctl" in outcome.plan.errors[0].summary


def test_a_schedule_and_a_type_of_one_name_stand_in_each_others_way() -> None:
    fleet = Simulation("s1")
    taken = f"app={APP}\ndyno=nightly.1\nport=0\ncpu=250\nslug=x\nconfig=x\n"
    fleet["s1"].write(f"{UNITS}/dyno-shop-nightly-1.service", taken)
    plan = fleet.plan(manifest("s1", schedule=True)).plan
    assert any("cannot have the same name" in error.summary for error in plan.errors)


def test_another_destination_is_not_overwritten() -> None:
    fleet = deployed("s1", destination="staging")
    assert fleet.apply(manifest("s1")).code == ERROR


def test_a_check_that_fails_stands_in_the_way() -> None:
    fleet = deployed()
    checks = Checks(min_healthy={"web": 2}, forbid_root_login=True, min_spread={"rack": 2}, max_exposure=5)
    outcome = fleet.apply(manifest(slug="b", checks=checks))
    assert outcome.code == ERROR and outcome.plan is not None
    assert sum(not check.passed for check in outcome.plan.checks) == 3


def test_a_check_is_about_plans_and_not_about_drift() -> None:
    """Whoever looks for drift gets it, also from a dyno.yaml whose plan is refused."""
    fleet = deployed()
    plan = fleet.plan(manifest(slug="b", checks=Checks(min_healthy={"web": 2})), drift=True).plan
    assert plan.errors == () and plan.checks == ()


def test_a_package_that_cannot_be_installed_takes_its_server_out() -> None:
    fleet = Simulation("s1", "s2")
    fleet.fault("sim install", Kind.FAIL, host="s2")
    outcome = fleet.apply(manifest())
    assert outcome.code == ERROR
    assert set(slugs(fleet["s1"])) and not slugs(fleet["s2"])


def test_an_upgrade_that_a_package_needs_is_refused_or_planned_by_name() -> None:
    fleet = Simulation("s1", "s2")
    fleet["s2"].outdated["libruby"] = ("3.1.2-7", "3.1.2-8")
    outcome = fleet.apply(manifest())
    assert outcome.code == ERROR and outcome.plan is not None and outcome.report is None
    (error,) = outcome.plan.errors
    assert error.summary == "s2: packages cannot be installed before libruby (3.1.2-7 to 3.1.2-8) is upgraded"
    assert error.hint == "to do that with this plan: packages: {upgrade: needed}; or do it on s2"
    allowed = manifest(packages=Packages(upgrade=True))
    outcome = fleet.apply(allowed)
    assert outcome.code == OK and outcome.plan is not None, outcome.said
    first = [change.address for change in outcome.plan.changes if change.resource.server == "s2"][:2]
    assert first == ["s2/package_upgrade.libruby", "s2/package.ruby"]
    assert not fleet["s2"].outdated and fleet.pending(allowed) == []
    fleet["s1"].outdated["openssl"] = ("1", "2")
    assert fleet.pending(allowed) == [], "nothing is missing, so nothing is upgraded"


def test_a_package_that_brings_no_ruby_takes_its_server_out() -> None:
    fleet = Simulation("s1")
    fleet.fleet.servers["s1"].packages.add("unrelated")
    fleet.fleet.hollow.add("ruby")
    outcome = fleet.apply(manifest("s1"))
    assert outcome.code == ERROR and "no MRI Ruby" in outcome.said


def test_a_slug_that_cannot_be_sent_takes_its_server_out() -> None:
    fleet = deployed()
    fleet["s2"].full = True
    outcome = fleet.apply(manifest(slug="b"))
    assert outcome.code == ERROR and "no space left" in outcome.said
    fleet["s2"].full = False
    assert fleet.apply(manifest(slug="b")).code == OK
