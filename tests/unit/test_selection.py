"""Selected changes: whole dynos with everything they depend on, and nothing that other dynos depend on."""

from __future__ import annotations

import pytest

from infra.errors import DynoctlError
from infra.fleet.facts import Facts
from infra.fleet.observe import Observed
from infra.model.formation import Formation
from infra.model.resource import Action, Attributes, Change, Found, Resource
from infra.plan.build import build
from infra.plan.plan import Plan
from infra.plan.selection import EVERYTHING, Selection
from infra.registry import Everything
from providers import user


def change(address: str, action: Action = Action.CREATE, dyno: str | None = None) -> Change:
    server, _, key = address.partition("/")
    kind, _, name = key.partition(".")
    return Change(Resource(server, kind, name, {}, dyno), action, {}, {})


CHANGES = [
    change("a/slug.new"),
    change("a/unit.shop-web.1", Action.UPDATE, "web.1"),
    change("a/unit.shop-worker.1", Action.UPDATE, "worker.1"),
    change("a/slug.old", Action.DELETE),
    change("b/slug.new"),
    change("b/unit.shop-web.2", Action.UPDATE, "web.2"),
    change("b/slug.old", Action.DELETE),
    change("c/unit.shop-web.3", Action.DELETE, "web.3"),
    change("b/unit.shop-web.3", Action.CREATE, "web.3"),
]


def chosen(**patterns: tuple[str, ...]) -> list[str]:
    return [f"{one.action[0]} {one.address}" for one in Selection(**patterns).choose(CHANGES)]


def test_everything_is_selected_by_default() -> None:
    assert EVERYTHING.choose(CHANGES) == CHANGES
    assert str(EVERYTHING) == "" and not EVERYTHING.partial


def test_a_dyno_is_selected_with_what_it_depends_on() -> None:
    assert chosen(targets=("web.1",)) == ["c a/slug.new", "u a/unit.shop-web.1"]
    assert chosen(targets=("worker",)) == ["c a/slug.new", "u a/unit.shop-worker.1"]


def test_a_server_is_selected_as_a_whole() -> None:
    assert chosen(targets=("a",)) == [f"{one.action[0]} {one.address}" for one in CHANGES[:4]]


def test_what_other_dynos_may_depend_on_is_kept() -> None:
    assert chosen(excludes=("worker",), targets=("a",)) == ["c a/slug.new", "u a/unit.shop-web.1"]
    assert "d a/slug.old" not in chosen(excludes=("worker.1",))
    assert "d b/slug.old" in chosen(excludes=("worker.1",))


def test_a_moving_dyno_is_selected_on_both_servers() -> None:
    for patterns in (("c",), ("web.3",), ("web.[3-9]",)):
        assert {"d c/unit.shop-web.3", "c b/unit.shop-web.3", "c b/slug.new"} <= set(chosen(targets=patterns))
    assert not {"d c/unit.shop-web.3", "c b/unit.shop-web.3"} & set(chosen(excludes=("c",)))


def test_a_pattern_that_matches_nothing_is_an_error() -> None:
    Selection(targets=("a", "web", "web.*"), excludes=("work*",)).check_patterns(["a"], ["web.1", "worker.1"])
    with pytest.raises(DynoctlError, match="--target wbe matches no server, dyno or process type"):
        Selection(targets=("wbe",)).check_patterns(["a"], ["web.1"])
    with pytest.raises(DynoctlError, match="--replace a matches no dyno or process type"):
        Selection(replaces=("a",)).check_patterns(["a"], ["web.1"])


def planned(selection: Selection, *, new: bool) -> Plan:
    """Two dynos on one server, both running; ``new`` changes something of both."""
    facts = Facts("m", "a", "10.0.0.1", 2, 252, True, "3.1", frozenset(), frozenset(), ())
    desired, found = [], dict[str, Attributes]()
    for dyno in ("web.1", "web.2"):
        one = dict(user.desired("shop", dyno))
        found[f"user.shop-{dyno}"] = {**one, "shell": "/bin/bash"} if new else one
        found[f"unit.shop-{dyno}"] = {"state": "running"}
        desired.append(Resource("a", "user", f"shop-{dyno}", one, dyno))
        desired.append(
            Resource("a", "unit", f"shop-{dyno}", {"state": "running"}, dyno, triggers=(f"user.shop-{dyno}",))
        )
    formation = Formation((), {"web.1": "a", "web.2": "a"}, {"web.1": "a", "web.2": "a"})
    return build(
        "shop",
        desired,
        {"a": Observed(facts, {key: Found(one) for key, one in found.items()})},
        formation,
        Everything.providers,
        {},
        selection=selection,
    )


def test_a_dyno_is_replaced_without_changes() -> None:
    plan = planned(Selection(replaces=("web.2",)), new=False)
    assert [(one.action, one.address, one.effect, one.reason) for one in plan.changes] == [
        ("restart", "a/unit.shop-web.2", "restart", "requested with --replace")
    ]
    assert plan.batches == (("web.2",),)
    assert plan.candidates == (), "an unchanged dyno shows that the release answers"


def test_a_dyno_that_is_left_out_proves_nothing() -> None:
    plan = planned(Selection(targets=("web.1",)), new=True)
    assert {one.resource.dyno for one in plan.changes} == {"web.1"}
    assert plan.left_out == len(planned(EVERYTHING, new=True).changes) - len(plan.changes) > 0
    assert plan.candidates == planned(EVERYTHING, new=True).candidates
