"""One app name and several manifests, or one manifest and several names and fleets: what is not seen is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import ERROR, OK, UNREACHABLE
from infra.manifest.model import Server
from infra.model.origin import Origin
from tests.simulation.app import running
from tests.simulation.harness import APP, Outcome, Simulation, manifest
from tests.simulation.server import STATE

OURS = Origin("example.org/acme/shop", "", "dyno.yaml", "laptop", "/home/a/shop/dyno.yaml")
THEIRS = replace(OURS, repository="example.org/acme/other", file="/home/a/other/dyno.yaml")


def errors(outcome: Outcome) -> str:
    found = [] if outcome.plan is None else [error.summary for error in outcome.plan.errors]
    return "\n".join([outcome.said, *found])


def applied(*hosts: str, **keys: object) -> Simulation:
    fleet = Simulation("s1", "s2", "s3", "s4")
    fleet.origin = OURS
    outcome = fleet.apply(manifest(*(hosts or ("s1", "s2")), worker=2, **keys))  # type: ignore[arg-type]
    assert outcome.code == OK, errors(outcome)
    return fleet


def count(fleet: Simulation) -> int:
    return sum(len(server.processes) for server in fleet.fleet.servers.values())


def test_all_servers_replaced_in_one_edit() -> None:
    """The old dynos ran on unseen, beside the new ones."""
    fleet = applied()
    new = manifest("s3", "s4", worker=2)
    assert fleet.apply(new).code == OK
    assert not fleet["s1"].processes and not fleet["s2"].processes and count(fleet) == len(running(fleet)) == 4
    assert not fleet["s1"].below(f"{STATE}/{APP}")
    assert fleet.pending(new) == []


def test_all_servers_replaced_while_the_old_ones_are_away() -> None:
    fleet = applied()
    fleet["s1"].connected = fleet["s2"].connected = False
    new = manifest("s3", "s4", worker=2)
    outcome = fleet.apply(new)
    assert outcome.code == ERROR and "no reachable server has records of shop" in errors(outcome)
    assert not fleet["s3"].processes
    assert "s1, s2" in errors(outcome)
    assert fleet.apply(new, forget=frozenset({"s1", "s2"})).code == OK
    assert fleet.pending(new) == []


def test_the_only_known_servers_are_away_beside_a_new_one() -> None:
    fleet = applied("s1")
    fleet["s1"].connected = False
    both = manifest("s3", "s1", worker=2)
    outcome = fleet.apply(both)
    assert outcome.code == ERROR and outcome.plan is not None
    assert outcome.plan.errors[0].hint.endswith("dynoctl apply --evacuate s1")
    assert fleet.apply(both, evacuate=frozenset({"s1"})).code == OK and len(fleet["s3"].processes) == 4
    fleet["s1"].connected = True
    fleet["s1"].boot += 1
    assert fleet.apply(both).code == OK and count(fleet) == 4


def test_the_only_known_server_is_mistyped_beside_a_new_one() -> None:
    fleet = applied("s1")
    outcome = fleet.apply(manifest("s3", Server("s1", "s9"), worker=2))
    assert outcome.code == ERROR and "s1 is unreachable at s9, and still answers at s1" in errors(outcome)
    assert not fleet["s3"].processes


def test_a_hint_is_never_the_truth() -> None:
    """It is out of date: somebody destroyed the app, or gave the server to another manifest."""
    fleet = applied()
    fleet.origin, hint = None, fleet.hint
    assert fleet.destroy(manifest(worker=2)).code == OK
    fleet.origin, fleet.hint = OURS, hint
    assert fleet.apply(manifest("s3", "s4", worker=2)).code == OK and count(fleet) == 4

    fleet = applied()
    before = {host: fleet[host].version for host in ("s1", "s2")}
    fleet.origin = THEIRS
    assert fleet.apply(manifest("s3", "s4", worker=2)).code == OK
    assert {host: fleet[host].version for host in before} == before, "they are of another manifest"


def test_a_hint_to_another_machine_takes_nothing_from_it() -> None:
    fleet = applied()
    fleet.fleet.rebuild("s1")
    theirs = fleet.hint
    fleet.hint = {}
    assert fleet.apply(manifest("s1", worker=1, web=1)).code == OK  # the same manifest, elsewhere
    version, fleet.hint = fleet["s1"].version, theirs
    fleet.apply(manifest("s3", "s4", worker=2))
    assert fleet["s1"].version == version


def test_a_server_that_nobody_knows_of_and_is_away_is_said() -> None:
    fleet = applied("s1")
    hint = fleet.hint
    fleet.hint = {}
    assert fleet.apply(manifest("s3", worker=2)).code == OK
    fleet.hint = {APP: {**hint[APP], **fleet.hint[APP]}}
    fleet["s1"].connected = False
    ready = fleet.plan(manifest("s3", worker=2))
    assert any("shop was applied from here to s1 (s1), which is unreachable" in note for note in ready.plan.notes)
    ready.fleet.close()
    fleet["s1"].connected = True
    fleet["s1"].boot += 1
    assert fleet.apply(manifest("s3", worker=2)).code == OK
    assert not fleet["s1"].processes


def test_the_only_machine_was_replaced() -> None:
    fleet = applied("s1")
    was = fleet["s1"].machine_id
    fleet.fleet.rebuild("s1")
    plan = fleet.plan(manifest("s1", worker=2)).plan
    assert f"s1 is a new machine (was {was}, now {fleet['s1'].machine_id})" in plan.notes and not plan.errors
    assert fleet.apply(manifest("s1", worker=2)).code == OK


@pytest.mark.parametrize("servers", [("s1", "s2"), ("s3", "s4")])
def test_another_app_name(servers: tuple[str, ...]) -> None:
    fleet = applied(schedule=True)
    wanted = manifest(*servers, app="store")
    for _ in range(2):
        (note,) = [note for note in fleet.plan(wanted).plan.notes if "was applied as shop before" in note]
        assert ("still runs" in note and "web.1 on s" in note) or "was applied to s1 (s1), s2 (s2), which" in note
        assert fleet.apply(wanted).code == OK
    assert fleet.destroy(manifest(worker=2, schedule=True)).code == OK
    assert not any("before" in note for note in fleet.plan(wanted).plan.notes)


def test_two_manifests_with_one_name() -> None:
    fleet = applied()
    before = {host: server.version for host, server in fleet.fleet.servers.items()}
    fleet.origin, fleet.hint = THEIRS, {}
    theirs = manifest("s2", "s3", slug="b")
    for outcome in (fleet.apply(theirs), fleet.destroy(theirs)):
        assert outcome.code == ERROR
        assert "s2 runs shop of another manifest: example.org/acme/shop: dyno.yaml" in errors(outcome)
    assert {host: server.version for host, server in fleet.fleet.servers.items()} == before
    alone = fleet.plan(theirs, take_over=True).plan.unreachable["s1"]
    assert "s1 (s1) is not in dyno.yaml, and known from s2 alone" in str(alone), "theirs never was on it"
    assert fleet.apply(theirs, take_over=True, trust=frozenset({"s2"})).code == OK
    assert fleet.pending(theirs) == [], "it is theirs now"
    fleet.origin = OURS
    assert fleet.apply(manifest(worker=2)).code == ERROR


def test_a_manifest_that_moved_or_is_checked_out_elsewhere_is_the_same(tmp_path: Path) -> None:
    fleet = applied()
    fleet.origin = replace(OURS, host="runner-7", file="/builds/3/dyno.yaml")
    assert fleet.pending(manifest(worker=2)) == []
    fleet.origin = replace(OURS, path="deploy/dyno.yaml", file=str(tmp_path / "deploy/dyno.yaml"))
    assert fleet.apply(manifest(worker=2, slug="b")).code == OK, "it was moved inside the repository"
    (tmp_path / "dyno.yaml").write_text("app: {name: shop}\n")
    fleet.origin = replace(OURS, path="b/dyno.yaml", file=str(tmp_path / "b/dyno.yaml"))
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/dyno.yaml").write_text("app:\n  name: shop\n")
    assert "another manifest" in errors(fleet.apply(manifest(worker=2, slug="c")))


@pytest.mark.parametrize(("text", "other"), [("app: {name: shop}", True), ("app: {name: shop-admin}", False)])
def test_without_git_a_second_manifest_on_one_computer_is_told(tmp_path: Path, text: str, other: bool) -> None:
    fleet = Simulation("s1", "s2")
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    fleet.origin = Origin(host="laptop", file=str(first))
    assert fleet.apply(manifest()).code == OK
    fleet.origin = Origin(host="laptop", file=str(second))
    assert fleet.apply(manifest(slug="b")).code == OK, "the first one is gone: it was moved"
    second.write_text(text)
    fleet.origin = Origin(host="laptop", file=str(tmp_path / "third.yaml"))
    assert (fleet.apply(manifest(slug="c")).code == ERROR) is other
    fleet.origin = Origin(host="desktop", file="/elsewhere/dyno.yaml")
    assert fleet.apply(manifest(slug="a")).code == OK, "another computer says nothing"
    assert fleet.apply(manifest("s2", slug="a")).code in (OK, UNREACHABLE)
