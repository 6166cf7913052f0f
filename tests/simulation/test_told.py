"""What is said and remembered of an apply: last words without secrets, the audit log, saved plans, refusals."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from infra.engine import plan_file
from infra.engine.prepared import Prepared
from infra.errors import ERROR, OK, REJECTED, DynoctlError
from infra.fleet.inventory import targets
from infra.manifest.model import Packages, Reference, Router
from infra.model import answer, release
from infra.model.invocation import Invocation
from infra.plan import preconditions
from infra.plan.selection import Selection
from infra.state import audit_log
from infra.state.release_body import unpack
from infra.views import plan_json
from infra.views.stages import Stages
from tests.simulation.faults import Kind
from tests.simulation.harness import APP, KILLED, REGISTRY, Outcome, Simulation, in_order, manifest
from tests.simulation.server import STATE

SECRET = "correct-horse"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", SECRET)


KEY = {"KEY": Reference("from_env", "SHOP_KEY"), "COLOUR": "red"}


def deployed() -> Simulation:
    fleet = Simulation()
    assert fleet.apply(manifest(env=KEY)).code == OK
    return fleet


def test_a_dyno_that_died_was_not_changed_by_hand() -> None:
    fleet = deployed()
    fleet["s1"].stop("dyno-shop-web-1")
    (change,) = fleet.plan(manifest(env=KEY)).plan.changes
    assert (change.effect, change.drift, change.reason) == ("start", False, "web.1: state is stopped")
    assert fleet.apply(manifest(env=KEY)).code == OK


def test_last_words_are_shown_without_secrets() -> None:
    fleet = deployed()
    fleet.fault("sim start", Kind.HALF, cut=2)
    outcome = fleet.apply(manifest(env=KEY, slug="b"))
    assert outcome.code == REJECTED
    assert "COLOUR=red" in outcome.said and SECRET not in outcome.said


def test_a_restart_shows_last_words_of_which_it_knows_the_secrets() -> None:
    fleet = deployed()
    fleet.fault("sim start", Kind.HALF, cut=2)
    outcome = fleet.restart(manifest(env=KEY))
    assert "COLOUR=red" in outcome.said and SECRET not in outcome.said


def test_a_restart_hides_last_words_with_a_secret_of_yesterday(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = deployed()
    monkeypatch.setenv("SHOP_KEY", "another one")
    fleet.fault("sim start", Kind.HALF, cut=2)
    outcome = fleet.restart(manifest(env=KEY))
    assert "log is not shown" in outcome.said and SECRET not in outcome.said


def test_a_restart_hides_last_words_if_the_secrets_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = deployed()
    monkeypatch.delenv("SHOP_KEY")
    fleet.fault("sim start", Kind.HALF, cut=2)
    assert "log is not shown" in fleet.restart(manifest(env=KEY)).said


def test_last_words_that_cannot_be_had_are_the_steps_own() -> None:
    fleet = deployed()
    fleet.fault("sim start", Kind.FAIL)
    fleet.fault("sim journal", Kind.FAIL)
    assert "failed" in fleet.apply(manifest(env=KEY, slug="b")).said


def test_the_audit_log_knows_every_apply_once() -> None:
    fleet = deployed()
    fleet.fault("sim start", Kind.FAIL)
    fleet.apply(manifest(env=KEY, slug="b"))
    fleet["s1"].files[f"{STATE}/{APP}/audit.jsonl"] += "{half a line\n"
    fleet["s2"].connected = False
    with mock.patch("infra.fleet.ask.Session", fleet.fleet.connect):
        entries, lost = audit_log.read(APP, targets(manifest()))
    assert [(entry["command"], entry["result"]) for entry in entries] == [("apply", "ok"), ("apply", "reverted")]
    assert list(lost) == ["s2"]
    assert SECRET not in str(entries)


def logged(fleet: Simulation) -> Mapping[str, Any]:
    """The newest entry of the audit log of a server."""
    return audit_log.parse(fleet["s1"].files[f"{STATE}/{APP}/audit.jsonl"])[-1]


def words(fleet: Simulation) -> str:
    entry = logged(fleet)
    return " ".join([entry["command"], *entry["arguments"]])


def test_each_command_has_its_own_name_in_the_audit_log() -> None:
    """Whoever reads the history must see who scaled, and which dynos a restart was of; all was ``apply``."""
    fleet = deployed()
    assert words(fleet) == "apply"
    assert fleet.restart(manifest(env=KEY), "web.1").code == OK
    assert words(fleet) == "restart web.1"
    scaled = manifest(env=KEY, web=3)
    assert fleet.apply(scaled, invocation=Invocation("scale", ("web=3",))).code == OK
    assert words(fleet) == "scale web=3"
    assert fleet.restart(scaled).code == OK
    assert words(fleet) == "restart web.[1-3]"
    assert fleet.apply(scaled, selection=Selection(replaces=("web.2",))).code == OK
    assert words(fleet) == "apply --replace web.2"
    assert fleet.apply(manifest(env=KEY, web=3, slug="b")).code == OK
    assert fleet.rollback(scaled, "v1").code == OK
    assert words(fleet) == "rollback v1"


def test_a_secret_in_a_message_is_not_recorded() -> None:
    """A line of a log that was copied, such as why something is rolled back."""
    fleet = deployed()
    assert fleet.apply(manifest(env=KEY, slug="b"), message=f"rotate {SECRET} away").code == OK
    assert logged(fleet)["message"] == "rotate (sensitive) away"
    told = {path: text for path, text in fleet["s1"].files.items() if SECRET in text and not path.endswith(".body")}
    assert not [path for path in told if path.startswith(STATE)], "neither in the record of the release"


def document(ready: Prepared) -> dict[str, object]:
    return plan_json.document(ready.plan, ready.fleet.round_trips())


def test_a_saved_plan_is_applied_as_it_was_reviewed(tmp_path: Path) -> None:
    fleet = deployed()
    ready = fleet.plan(manifest(env=KEY, slug="b"))
    plan_file.write(tmp_path / "plan", ready, document(ready))
    saved = plan_file.read(tmp_path / "plan")
    assert saved.bound["slug"] == ready.slug.digest if ready.slug else ""
    assert SECRET not in (tmp_path / "plan").read_text()
    plan_file.refuse_changed(tmp_path / "plan", saved, fleet.plan(manifest(env=KEY, slug="b")), document(ready))


def test_a_saved_plan_is_refused_once_anything_is_different(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = deployed()
    ready = fleet.plan(manifest(env=KEY, slug="b"))
    plan_file.write(tmp_path / "plan", ready, document(ready))
    saved = plan_file.read(tmp_path / "plan")
    monkeypatch.setenv("SHOP_KEY", "another one")
    fleet["s2"].connected = False
    now = fleet.plan(manifest(env={**KEY, "SIZE": "xl"}, slug="c"))
    with pytest.raises(DynoctlError) as refused:
        plan_file.refuse_changed(tmp_path / "plan", saved, now, document(now))
    for words in ("the source changed", "the value of KEY changed", "SIZE is new", "s2 is unreachable"):
        assert words in refused.value.summary


def test_a_saved_plan_that_would_be_another_one_is_refused(tmp_path: Path) -> None:
    fleet = deployed()
    ready = fleet.plan(manifest(env=KEY, slug="b"))
    plan_file.write(tmp_path / "plan", ready, document(ready))
    saved = plan_file.read(tmp_path / "plan")
    with pytest.raises(DynoctlError, match="the plan is different now"):
        plan_file.refuse_changed(tmp_path / "plan", saved, ready, {**document(ready), "notes": ["else"]})


def test_what_is_no_plan_is_refused(tmp_path: Path) -> None:
    for text in ("no json", "[]", '{"format_version": 99, "bound": {}}'):
        (tmp_path / "plan").write_text(text)
        with pytest.raises(DynoctlError):
            plan_file.read(tmp_path / "plan")
    with pytest.raises(DynoctlError, match="not found"):
        plan_file.read(tmp_path / "nothing")
    with pytest.raises(DynoctlError):
        plan_file.refuse_unwritable(tmp_path / "nowhere" / "plan")
    ready = deployed().plan(manifest(env=KEY))
    with pytest.raises(DynoctlError, match="cannot write"):
        plan_file.write(tmp_path / "nowhere" / "plan", ready, document(ready))


def test_a_release_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(DynoctlError, match="cannot read"):
        unpack(3, '{"version": 99}', REGISTRY.fits)


def test_what_a_server_lacks_is_said() -> None:
    fleet = Simulation("s1")
    stack = REGISTRY.stack(manifest("s1"))
    seen = fleet.plan(manifest("s1")).fleet.found["s1"].facts
    for changed, words in (
        ({"systemd": 200}, "systemd 200 is too old"),
        ({"squashfs": False}, "does not support squashfs"),
        ({"apt": "no"}, "no MRI Ruby"),
        ({"ruby": "3.1.2", "missing": frozenset({"/usr/bin/puma"})}, "/usr/bin/puma not found"),
    ):
        facts = type(seen)(**{**vars(seen), **changed})
        assert words in " ".join(server.summary for server in preconditions.servers({"s1": facts}, stack)), changed
    facts = type(seen)(**{**vars(seen), "apt": "no"})
    (problem,) = preconditions.servers({"s1": facts}, stack, {"s1": ["ruby"]})
    assert "no apt" in problem.summary
    twins = preconditions.servers({"s1": seen, "s2": seen}, stack, {"s1": ["ruby"], "s2": ["ruby"]})
    assert "the same machine" in twins[0].summary


def test_a_ruby_that_does_not_fit_is_said() -> None:
    fleet = Simulation("s1")
    stack = REGISTRY.stack(manifest("s1"))
    picky = type(stack)(**{**vars(stack), "ruby_fits": lambda version: False})
    seen = fleet.plan(manifest("s1")).fleet.found["s1"].facts
    assert "apt would install" in preconditions.servers({"s1": seen}, picky, {"s1": ["ruby"]})[0].summary
    there = type(seen)(**{**vars(seen), "ruby": "1.8"})
    assert "does not satisfy" in preconditions.servers({"s1": there}, picky)[0].summary


def test_another_router_stands_in_the_way() -> None:
    fleet = Simulation("s1")
    fleet["s1"].listeners.add(80)
    wanted = manifest("s1", web=1, router=["s1"])
    assert isinstance(wanted.router, Router)
    outcome = fleet.apply(wanted)
    assert outcome.code == ERROR and outcome.plan is not None
    assert "port 80 is already in use" in outcome.plan.errors[0].summary


def test_packages_by_hand_are_not_installed() -> None:
    fleet = Simulation("s1")
    fleet["s1"].packages.add("ruby")
    by_hand = manifest("s1", web=1, router=["s1"], packages=Packages(manual=True))
    assert not any("package" in one for one in fleet.pending(by_hand))


def test_a_drift_says_what_was_changed_by_hand() -> None:
    fleet = deployed()
    path = next(file for file in fleet["s1"].files if file.endswith(".env"))
    fleet["s1"].write(path, f"COLOUR=green\nKEY={SECRET}\n")
    change = next(change for change in fleet.plan(manifest(env=KEY)).plan.changes if change.resource.kind == "config")
    assert change.drift and change.drifted == ("variables.COLOUR",)


@pytest.mark.parametrize("killed", [Kind.KILL_BEFORE, Kind.KILL_HALF, Kind.KILL_AFTER])
def test_what_an_interrupted_apply_wrote_was_not_changed_by_hand(killed: Kind) -> None:
    """It had no record, and what completed the dyno did not change it, so the next change was told as drift."""
    fleet = deployed()
    second = manifest(env={**KEY, "COLOUR": "green"})
    fleet.fault("sim start", killed)
    assert fleet.apply(second).code == KILLED
    assert fleet.apply(second).code == OK and fleet.pending(second) == []
    changes = fleet.plan(manifest(env={**KEY, "COLOUR": "blue"})).plan.changes
    assert changes and not any(change.drift for change in changes)


def test_numbers_of_releases_are_given_once() -> None:
    fleet = deployed()
    fleet["s2"].connected = False
    fleet.apply(manifest(env=KEY, slug="b"))
    fleet["s1"].connected, fleet["s2"].connected = False, True
    fleet.apply(manifest(env=KEY, slug="c"))
    fleet["s1"].connected = True
    assert fleet.apply(manifest(env=KEY, slug="c")).code == OK
    with in_order(iter(range(100, 200))), mock.patch("infra.fleet.ask.Session", fleet.fleet.connect):
        from infra.state.releases import survey

        known = survey(APP, targets(manifest()), {})
    numbers = [one.number for one in known.releases]
    assert len(numbers) == len(set(numbers)) == 3
    current = release.current(known.releases)
    assert current is not None and current.result == "ok"


def test_a_damaged_record_is_none() -> None:
    assert answer.record("{no json") == {}
    assert answer.record("[]") == {}


def test_the_progress_of_an_apply_is_a_line_per_stage_and_batch() -> None:
    fleet = Simulation("s1", "s2", "s3", "s4")
    wanted = partial(manifest, "s1", "s2", "s3", "s4", web=7, worker=1, router=["s1"])
    lines = stages_of(fleet.apply(wanted()))
    assert [line.split()[1] for line in lines] == ["install", "prepare", "candidate", "start", "route"]
    assert "web.[1-7], worker.1 started" in lines[3]
    lines = stages_of(fleet.apply(wanted(slug="b")))
    batches = [line for line in lines if " batch " in line]
    assert [" ".join(line.split()[1:5]) for line in batches] == [f"batch {n} of 8" for n in range(1, 9)]
    assert len(lines) <= 12
    fleet.fault("sim start", Kind.HALF, cut=2, nth=3)
    outcome = fleet.apply(wanted(slug="c"))
    assert outcome.code == REJECTED
    lines = stages_of(outcome)
    assert any("FAILED: web." in line for line in lines)
    assert any(line.startswith("✓ revert") and " reverted" in line for line in lines)


def stages_of(outcome: Outcome) -> list[str]:
    stages = Stages()
    lines = [line for event in outcome.events for line in stages.take(event)]
    return [line for line in [*lines, *stages.end()] if line[0] in "✓✗"]
