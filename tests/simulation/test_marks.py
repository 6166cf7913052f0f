"""What has no mark, or not all of it: found, mended by one apply, and gone after a destroy."""

from __future__ import annotations

import pytest

from infra.errors import OK
from tests.simulation.app import deployed, running
from tests.simulation.faults import Kind
from tests.simulation.harness import APP, Simulation, manifest
from tests.simulation.invariants import upstreams
from tests.simulation.server import STATE, UNITS, SimServer

SLUGS = f"{STATE}/{APP}/slugs/"


def images(server: SimServer) -> list[str]:
    return [path for path in server.files if path.startswith(SLUGS)]


def strays(fleet: Simulation) -> list[str]:
    """Files of the app that are left on any server."""
    return [
        path
        for server in fleet.fleet.servers.values()
        for path in server.files
        if path.startswith((f"/etc/dyno/{APP}/", f"{STATE}/{APP}/", f"{UNITS}/dyno-{APP}-"))
    ]


def test_a_slug_that_is_not_whole_is_sent_again() -> None:
    """It was not found, and the upload left a file alone that was there."""
    fleet = deployed("s1")
    (image,) = images(fleet["s1"])
    fleet["s1"].empty(image)
    assert any("create s1/slug." in change for change in fleet.pending(manifest("s1")))
    assert fleet.apply(manifest("s1")).code == OK
    assert fleet["s1"].files[image]
    assert fleet.pending(manifest("s1")) == []


def test_a_slug_that_is_not_whole_is_not_kept_for_a_rollback() -> None:
    fleet = deployed("s1")
    (first,) = images(fleet["s1"])
    fleet.apply(manifest("s1", slug="b"))
    fleet["s1"].empty(first)
    assert [change for change in fleet.pending(manifest("s1", slug="b")) if "slug" in change]
    assert fleet.apply(manifest("s1", slug="b")).code == OK
    assert first not in images(fleet["s1"])
    outcome = fleet.rollback(manifest("s1", slug="b"))
    assert outcome.code != OK and "its slug is neither on a server nor on the local machine" in outcome.said


@pytest.mark.parametrize("runs", [True, False])
def test_a_unit_that_a_power_cut_emptied_is_mended_at_its_port(runs: bool) -> None:
    """It was taken for somebody else's, or for one that does not exist; its own listener took its port."""
    fleet = deployed("s1", web=2)
    unit = "dyno-shop-web-1"
    before = fleet["s1"].files[f"{UNITS}/{unit}.service"]
    fleet["s1"].empty(f"{UNITS}/{unit}.service")
    if not runs:
        fleet["s1"].stop(unit)
    assert fleet.apply(manifest("s1")).code == OK
    assert fleet["s1"].files[f"{UNITS}/{unit}.service"] == before
    assert running(fleet) == {"web.1": "a", "web.2": "a"}


@pytest.mark.parametrize("unit", ["web-1", "nightly-1"])
def test_a_unit_that_a_power_cut_emptied_does_not_survive_a_destroy(unit: str) -> None:
    fleet = deployed("s1", schedule=True)
    fleet["s1"].empty(f"{UNITS}/dyno-shop-{unit}.service")
    assert fleet.destroy(manifest("s1")).code == OK
    assert not fleet["s1"].processes and not fleet["s1"].timers and strays(fleet) == []


@pytest.mark.parametrize("destroy", [False, True])
def test_a_file_that_was_not_written_whole_is_seen_and_goes(destroy: bool) -> None:
    fleet = deployed("s1")
    fleet.fault("sim write /etc/dyno", Kind.REBOOT, cut=1)
    fleet.apply(manifest("s1", env={"MODE": "x"}))
    assert [path for path in strays(fleet) if path.endswith(".dynoctl-new")]
    outcome = fleet.destroy(manifest("s1")) if destroy else fleet.apply(manifest("s1"))
    assert outcome.code == OK
    assert [path for path in strays(fleet) if destroy or path.endswith("new")] == []


def test_a_disk_that_is_full_during_a_revert_leaves_no_half_file() -> None:
    fleet = deployed("s1")
    fleet.fault("sim start", Kind.FAIL)
    fleet.fault("restore", Kind.FULL)
    fleet.apply(manifest("s1", slug="b", env={"MODE": "x"}))
    assert [path for path in strays(fleet) if path.endswith("new")] == []


def test_a_router_that_has_not_loaded_its_files_is_no_router_without_changes() -> None:
    """The files were as wanted, and its process went on with the old ones."""
    fleet = deployed("s1", "s2", router=["s1"])
    fleet.fault("sim route", Kind.KILL_HALF, cut=1)
    fleet.apply(manifest(web=3, router=["s1"]))
    assert set(upstreams(fleet["s1"])) == {"web.1", "web.2"}, "the test is about a router that was not reloaded"
    assert fleet.pending(manifest(web=3, router=["s1"])) == ["update s1/router.shop"]
    assert fleet.apply(manifest(web=3, router=["s1"])).code == OK
    assert set(upstreams(fleet["s1"])) == {"web.1", "web.2", "web.3"}


def test_a_router_that_has_not_unloaded_an_app_is_seen_by_a_destroy() -> None:
    fleet = deployed("s1", router=["s1"])
    fleet.fault("sim unroute", Kind.KILL_HALF, cut=1)
    fleet.destroy(manifest("s1", router=["s1"]))
    assert upstreams(fleet["s1"])
    assert fleet.destroy(manifest("s1", router=["s1"])).code == OK
    assert upstreams(fleet["s1"]) == {}
