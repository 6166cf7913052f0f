"""What a builder made is used again only as long as that is the same machine, with the same Debian and Ruby."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infra.errors import OK
from infra.manifest.model import Manifest, Server
from tests.simulation.as_running import act, go_back
from tests.simulation.harness import Simulation, manifest

BUILDER = Server("s3", "s3", dynos=False)


def tree(**keys: Any) -> Manifest:
    plain = manifest("s1", "s2", BUILDER, builder="s3", **keys)
    return replace(plain, app=replace(plain.app, build=("make",)))


@pytest.fixture
def fleet() -> Simulation:
    fleet = Simulation("s1", "s2", "s3")
    fleet["s3"].packages.add("ruby")
    outcome = fleet.apply(tree())
    assert outcome.code == OK, outcome.said
    return fleet


def change(fleet: Simulation, what: str, value: str) -> None:
    setattr(fleet["s3"], what, value)
    fleet["s3"].version += 1


def look(fleet: Simulation, wanted: Manifest, **keys: Any) -> tuple[str, str]:
    """The digest of the slug that is wanted, and the notes of its plan."""
    ready = fleet.plan(wanted, **keys)
    ready.fleet.close()
    assert ready.slug is not None
    return ready.slug.digest, "\n".join(ready.plan.notes)


def test_nothing_is_built_again_while_nothing_changes(fleet: Simulation) -> None:
    assert fleet.pending(tree()) == []
    change(fleet, "ruby", "3.1.7")
    assert fleet.pending(tree()) == [], "a patch of Ruby has the same ABI"


@pytest.mark.parametrize(("what", "value"), [("machine_id", "99machine"), ("debian", "13"), ("ruby", "3.3.8")])
def test_what_another_builder_made_is_not_used(fleet: Simulation, what: str, value: str) -> None:
    before = look(fleet, tree())
    assert before == (fleet["s1"].processes["dyno-shop-web-1"].release.slug, "")
    change(fleet, what, value)
    digest, notes = look(fleet, tree())
    assert digest != before[0] and digest[:12] != before[0][:12]
    assert "the slug is built again, with the same source: s3 is another machine" in notes
    assert fleet.apply(tree()).code == OK
    assert look(fleet, tree()) == (digest, "") and fleet.pending(tree()) == []


def test_a_builder_that_is_not_known_changes_nothing(fleet: Simulation) -> None:
    digest = look(fleet, tree())[0]
    assert look(fleet, tree(), untrusted=True)[0] == digest, "its login cannot run Ruby"
    fleet["s3"].connected = False
    assert look(fleet, tree())[0] == digest
    assert look(fleet, tree(slug="b"))[0] not in (digest, "")


def test_ruby_that_apply_installs_on_the_builder_changes_nothing() -> None:
    fleet = Simulation("s1", "s2")
    wanted = replace(tree(), servers=tree().servers[:2], builder="s2")
    assert fleet.apply(wanted).code == OK
    assert fleet.pending(wanted) == []


def test_scale_does_not_call_another_builder_another_source(fleet: Simulation) -> None:
    change(fleet, "debian", "13")
    outcome = act(fleet, tree(web=2), {"web": 3})
    assert outcome.code == OK and outcome.plan is not None
    assert not [note for note in outcome.plan.notes if "the source" in note]


def test_another_builder_does_not_end_a_rollback(fleet: Simulation) -> None:
    later = tree(slug="b")
    assert fleet.apply(later).code == OK
    assert go_back(fleet, later).code == OK
    change(fleet, "debian", "13")
    ready = fleet.plan(later)
    ready.fleet.close()
    assert ready.plan.held is not None
