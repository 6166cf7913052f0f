"""A rollback is held: what was rolled back from does not come back until somebody decides so."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.engine import plan_file
from infra.errors import ERROR, OK, REJECTED, UNREACHABLE, DynoctlError, ManifestInvalid
from infra.manifest.artifacts import Artifacts, Login
from infra.manifest.model import Reference
from infra.views import plan_json, plan_markdown, plan_text
from infra.views.style import Style
from tests.simulation.app import deployed, running
from tests.simulation.as_running import act
from tests.simulation.faults import Kind
from tests.simulation.harness import KILLED, Simulation, manifest
from tests.simulation.server import UNITS

HELD = "v3, a rollback from v2 to v1 by "


def rolled_back(**keys: object) -> Simulation:
    """web.1 and web.2 run again the slug a, in v3; the manifest is still that of v2, with the slug b."""
    fleet = deployed("s1", "s2", **keys)
    assert fleet.apply(manifest(slug="b", **keys)).code == OK  # type: ignore[arg-type]
    assert fleet.rollback(manifest(slug="b", **keys)).code == OK  # type: ignore[arg-type]
    return fleet


def is_held(fleet: Simulation, wanted: object, **options: object) -> bool:
    outcome = fleet.apply(wanted, **options)  # type: ignore[arg-type]
    if outcome.code != ERROR or outcome.report is not None:
        return False
    assert HELD in str(outcome.error) and "is held: dyno.yaml and the source are still those of v2" in str(
        outcome.error
    )
    assert isinstance(outcome.error, DynoctlError) and "dynoctl apply --over-rollback" in outcome.error.hint
    return running(fleet) == {"web.1": "a", "web.2": "a"}


def test_an_apply_of_what_was_rolled_back_from_is_refused() -> None:
    fleet = rolled_back()
    assert is_held(fleet, manifest(slug="b"))
    assert is_held(fleet, manifest(slug="b"), evacuate=frozenset()) and fleet.pending(manifest(slug="b")) != []
    assert fleet.apply(manifest(slug="b"), over_rollback=True).code == OK
    assert running(fleet) == {"web.1": "b", "web.2": "b"}
    assert fleet.pending(manifest(slug="b")) == []


def test_a_restart_names_the_rollback_that_repairs_what_it_does_not_restart() -> None:
    """It named an apply, which is refused."""
    fleet = rolled_back()
    home = next(name for name in ("s1", "s2") if any(one.dyno == "web.1" for one in fleet[name].processes.values()))
    fleet[home].stop("dyno-shop-web-1")
    fleet[home].remove(f"{UNITS}/dyno-shop-web-1.service")
    outcome = fleet.restart(manifest(slug="b"))
    assert outcome.plan is not None
    assert f"web.1 is damaged on {home}; to repair it: dynoctl rollback v1" in outcome.plan.notes


def test_a_rollback_needs_no_login_of_the_store_of_slugs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it needs no config var of this computer: whoever rolls back at night may have none of them."""
    monkeypatch.delenv("NO_LOGIN_HERE", raising=False)
    login = Login(token=Reference("from_env", "NO_LOGIN_HERE"))
    artifacts = Artifacts("oci", "https://registry.example.org", "team/shop", push=login)
    fleet = deployed("s1", "s2")
    assert fleet.apply(manifest(slug="b")).code == OK
    assert fleet.rollback(manifest(slug="b", artifacts=artifacts)).code == OK
    assert running(fleet) == {"web.1": "a", "web.2": "a"}
    with pytest.raises(ManifestInvalid, match="1 error"):
        fleet.plan(manifest(slug="c", artifacts=artifacts))


def test_a_plan_notes_it_on_top() -> None:
    fleet = rolled_back()
    plan = fleet.plan(manifest(slug="b")).plan
    assert plan.errors == () and plan.held is not None and (plan.held.number, plan.held.of, plan.held.over) == (3, 1, 2)
    for text in (plan_text.render(plan, {}, Style(False)), plan_markdown.render(plan)):
        top = "\n".join(text.splitlines()[:4])
        assert HELD in top and "--over-rollback" in top
    assert plan_json.document(plan, {})["held"] == {
        "number": 3,
        "of": 1,
        "over": 2,
        "who": plan.held.who,
        "when": plan.held.when,
    }
    over = fleet.plan(manifest(slug="b"), over_rollback=True).plan
    assert over.held is None and "undoes v3, the rollback to v1" in over.notes


def test_another_source_or_manifest_is_a_decision() -> None:
    assert rolled_back().apply(manifest(slug="c")).code == OK
    assert rolled_back().apply(manifest(slug="b", env={"MODE": "x"})).code == OK
    assert rolled_back().apply(manifest(slug="b", web=3)).code == OK


def test_a_secret_that_changed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "yesterday")
    keys = {"env": {"KEY": Reference("from_env", "SHOP_KEY")}}
    fleet = rolled_back(**keys)
    monkeypatch.setenv("SHOP_KEY", "today")
    assert is_held(fleet, manifest(slug="b", **keys))  # type: ignore[arg-type]


def test_an_edit_from_before_the_rollback_is_none() -> None:
    fleet = deployed()
    assert fleet.apply(manifest(slug="b")).code == OK
    edited = manifest(slug="b", keep=3)
    assert fleet.rollback(edited).code == OK
    assert is_held(fleet, edited) and is_held(fleet, manifest(slug="b"))


def test_one_that_was_applied_over_is_held_no_more() -> None:
    fleet = rolled_back()
    assert fleet.apply(manifest(slug="c")).code == OK
    assert fleet.apply(manifest(slug="b")).code == OK
    assert running(fleet) == {"web.1": "b", "web.2": "b"}


def test_a_rollback_to_what_was_rolled_back_from_holds_it_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody decided that it runs again. A new secret for it was refused, as a rollback from v2 to v2."""
    monkeypatch.setenv("SHOP_KEY", "yesterday")
    keys = {"env": {"KEY": Reference("from_env", "SHOP_KEY")}}
    fleet = rolled_back(**keys)
    assert fleet.rollback(manifest(slug="b", **keys), "v2").code == OK  # type: ignore[arg-type]
    monkeypatch.setenv("SHOP_KEY", "today")
    assert fleet.apply(manifest(slug="b", **keys)).code == OK  # type: ignore[arg-type]


def test_one_that_was_rejected_over_it_ends_nothing() -> None:
    fleet = rolled_back()
    fleet.fault("sim candidate", Kind.FAIL)
    assert fleet.apply(manifest(slug="c")).code == REJECTED
    assert is_held(fleet, manifest(slug="b"))


def test_a_rollback_behind_a_rollback_holds_both() -> None:
    fleet = deployed()
    assert fleet.apply(manifest(slug="b")).code == OK
    assert fleet.apply(manifest(slug="c")).code == OK
    assert fleet.rollback(manifest(slug="c")).code == OK
    assert fleet.rollback(manifest(slug="c"), "v1").code == OK
    for slug in ("b", "c"):
        outcome = fleet.apply(manifest(slug=slug))
        assert outcome.code == ERROR and "is held" in str(outcome.error)
    assert fleet.rollback(manifest(slug="c"), "v3").code == OK  # that is a decision, too
    assert fleet.apply(manifest(slug="c")).code == OK
    assert running(fleet) == {"web.1": "c", "web.2": "c"}


def test_a_rollback_that_was_killed_halfway_is_held() -> None:
    fleet = deployed()
    assert fleet.apply(manifest(slug="b")).code == OK
    fleet.fault("sim start", Kind.KILL_BEFORE, nth=2)
    assert fleet.rollback(manifest(slug="b")).code == KILLED
    assert fleet.plan(manifest(slug="b")).plan.held is not None
    assert fleet.rollback(manifest(slug="b"), "v1").code == OK
    assert is_held(fleet, manifest(slug="b"))


@pytest.mark.parametrize("kind", [Kind.KILL_BEFORE, Kind.LOST_BEFORE])
def test_a_rollback_that_did_not_end_well_is_gone_on_with_and_not_undone(kind: Kind) -> None:
    """The second one went forward again, to what the first one was to replace."""
    fleet = deployed()
    assert fleet.apply(manifest(slug="b")).code == OK
    fleet.fault("sim start", kind, nth=2)
    assert fleet.rollback(manifest(slug="b")).code != OK
    assert fleet.rollback(manifest(slug="b")).code == OK
    assert running(fleet) == {"web.1": "a", "web.2": "a"}


def test_what_was_begun_over_a_rollback_is_gone_on_with() -> None:
    fleet = rolled_back()
    fleet.fault("sim start", Kind.KILL_BEFORE, nth=2)
    assert fleet.apply(manifest(slug="b"), over_rollback=True).code == KILLED
    assert fleet.apply(manifest(slug="b")).code == OK
    assert running(fleet) == {"web.1": "b", "web.2": "b"}


def test_a_server_that_was_away_does_not_bring_it_back() -> None:
    fleet = deployed("s1", "s2", "s3")
    assert fleet.apply(manifest("s1", "s2", "s3", slug="b")).code == OK
    fleet["s3"].connected = False
    fleet.rollback(manifest("s1", "s2", "s3", slug="b"))
    fleet["s3"].connected = True
    outcome = fleet.apply(manifest("s1", "s2", "s3", slug="b"))
    assert outcome.code == ERROR and "is held" in str(outcome.error)


def test_a_rollback_that_is_held_can_be_repaired() -> None:
    """A server that was dead turned up with what was rolled back from, and every apply was refused."""
    fleet = deployed("s1", "s2", worker=2)
    tree = manifest(slug="b", worker=2)
    assert fleet.apply(tree).code == OK
    fleet["s2"].shut_down()
    fleet.rollback(tree)
    assert act(fleet, tree, evacuate=frozenset({"s2"})).code == OK
    fleet["s2"].boot_up()
    outcome = fleet.apply(tree)
    assert isinstance(outcome.error, DynoctlError) and "dynoctl rollback v1" in outcome.error.hint
    assert fleet.rollback(tree, "v1").code == OK
    assert set(running(fleet).values()) == {"a"} and len(fleet["s1"].processes) + len(fleet["s2"].processes) == 4


def test_restarts_and_destroy_are_not_held() -> None:
    fleet = rolled_back()
    assert fleet.restart(manifest(slug="b")).code == OK
    assert running(fleet) == {"web.1": "a", "web.2": "a"}
    assert fleet.destroy(manifest(slug="b")).code == OK


def test_a_saved_plan_is_held_unless_it_was_made_over_the_rollback(tmp_path: Path) -> None:
    fleet, wanted, file = rolled_back(), manifest(slug="b"), tmp_path / "plan"
    for over in (False, True):
        ready = fleet.plan(wanted, over_rollback=over)
        plan_file.write(file, ready, plan_json.document(ready.plan, {"connections": 2, "execs": 2}))
        saved = plan_file.read(file)
        assert saved.over_rollback is over
        again = fleet.plan(wanted, over_rollback=saved.over_rollback)
        plan_file.refuse_changed(file, saved, again, plan_json.document(again.plan, {}))
        assert (again.plan.held is None) is over


def test_scaling_ends_no_rollback() -> None:
    """It writes the new number to dyno.yaml, which differs then, and the next apply brought the bad release back."""
    fleet = rolled_back()
    tree, scaled = manifest(slug="b"), manifest(slug="b", web=3)
    assert act(fleet, tree, {"web": 3}, edited=(tree.digest, scaled.digest)).code == OK
    outcome = fleet.apply(scaled)
    assert outcome.code == ERROR and "is held" in str(outcome.error)
    assert running(fleet) == {"web.1": "a", "web.2": "a", "web.3": "a"}
    assert fleet.apply(manifest(slug="b", web=4)).code == OK, "a decision"


def test_scaling_with_an_edit_that_was_a_decision_holds_nothing() -> None:
    fleet = rolled_back()
    tree, scaled = manifest(slug="b", keep=3), manifest(slug="b", keep=3, web=3)
    assert act(fleet, tree, {"web": 3}, edited=(tree.digest, scaled.digest)).code == OK
    assert fleet.apply(scaled).code == OK


def test_a_second_rollback_completes_the_first_on_a_server_that_was_away() -> None:
    """It went forward again, to the release that the first one was to replace."""
    fleet = deployed("s1", "s2")
    tree = manifest(slug="b")
    assert fleet.apply(tree).code == OK
    fleet["s2"].connected = False
    assert fleet.rollback(tree).code == UNREACHABLE
    fleet["s2"].connected = True
    assert sorted(running(fleet).values()) == ["a", "b"]
    assert fleet.rollback(tree).code == OK
    assert set(running(fleet).values()) == {"a"}


def test_a_rollback_that_is_complete_is_neither_undone_nor_repeated() -> None:
    fleet = rolled_back()
    assert fleet.apply(manifest(slug="c")).code == OK
    assert fleet.apply(manifest(slug="b"), message="bad again").code == OK
    assert fleet.rollback(manifest(slug="b")).code == OK
    outcome = fleet.rollback(manifest(slug="b"))
    assert outcome.code == OK and outcome.plan is not None and not outcome.plan.changes
    assert outcome.plan.notes == ("v6 is a rollback to v4 already; to go further back: dynoctl rollback v3",)
    assert set(running(fleet).values()) == {"c"}
    assert fleet.rollback(manifest(slug="b"), "v3").code == OK
    assert set(running(fleet).values()) == {"a"}
    outcome = fleet.rollback(manifest(slug="b"))
    assert outcome.plan is not None and outcome.plan.notes == ("v7 is a rollback to v3 already",)
