"""Checks as values: what passes, what fails, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.errors import Unreachable
from infra.fleet.exposure import _ANSWER
from infra.manifest.model import App, Checks, DynoType, Manifest, Rollout, Server
from infra.model.formation import Formation
from infra.model.resource import Action, Change, Effect, Resource
from infra.plan.batches import batches
from infra.plan.plan import Plan
from infra.plan.policy import check

HOMES = {"web.1": "a", "web.2": "b", "web.3": "c", "worker.1": "a"}


def manifest(**checks: Any) -> Manifest:
    servers = tuple(
        Server(name, f"{name}.example", labels={"rack": rack}) for name, rack in zip("abc", "xxy", strict=True)
    )
    dynos = {"web": DynoType("web", 3), "worker": DynoType("worker", 1)}
    return Manifest(Path("dyno.yaml"), App("shop", Path("/app")), servers, dynos, checks=Checks(**checks))


def plan(parallel: int | str = 1, homes: dict[str, str] = HOMES) -> Plan:
    moving = batches([dyno for dyno in homes if dyno.startswith("web")], Rollout(max_parallel=parallel), {})
    return Plan("shop", (), Formation((), homes, homes), moving, {}, (), (), (), "f" * 64)


def failing(wanted: Manifest, one: Plan, **logins: str) -> list[str]:
    return [f"{answer.name}: {answer.detail}" for answer in check(wanted, one, logins) if not answer.passed]


@pytest.mark.parametrize(
    ("least", "parallel", "says"),
    [
        (2, 1, []),
        (2, 2, ["min_healthy/web: batch 1 leaves 1 web dyno up, at least 2 of 3 must be up"]),
        ("66%", 1, []),
        ("67%", 1, ["min_healthy/web: batch 1 leaves 2 web dynos up, at least 3 of 3 must be up"]),
        (4, 1, ["min_healthy/web: 3 web dynos in total, at least 4 must be up"]),
        (0, 3, []),
    ],
)
def test_enough_dynos_stay_up(least: int | str, parallel: int, says: list[str]) -> None:
    assert failing(manifest(min_healthy={"web": least}), plan(parallel)) == says


def test_new_dynos_are_not_up_while_the_canaries_restart() -> None:
    homes = {**HOMES, "web.4": "a", "web.5": "b"}
    new = [Change(Resource(homes[dyno], "unit", f"shop-{dyno}", {}, dyno), Action.CREATE, None, {}) for dyno in homes]
    new = [replace(one, effect=Effect.START) for one in new if one.resource.dyno in ("web.4", "web.5")]
    one = replace(plan(homes=homes), changes=tuple(new), formation=Formation((), homes, HOMES))
    assert one.capacity()[0] == {"web": (4, 5)}
    one = replace(one, canary=True)
    assert [batch["web"] for batch in one.capacity()] == [(2, 5), (4, 5), (4, 5), (4, 5), (4, 5)]
    assert failing(manifest(min_healthy={"web": 3}), one) == [
        "min_healthy/web: batch 1 leaves 2 web dynos up, at least 3 of 5 must be up"
    ]


def test_a_unit_is_exposed_at_most_so_much() -> None:
    wanted = manifest(max_exposure=1.5)
    assert [one.detail for one in check(wanted, plan(), {})] == ["no unit changes"]
    assert failing(wanted, replace(plan(), exposure={"web": (9.2, 1.5)})) == []
    assert failing(wanted, replace(plan(), exposure={"web": (1.0, 1.6)})) == [
        "max_exposure/web: exposure of the web unit: 1.6, at most 1.5 is allowed"
    ]
    assert "no server can rate" in failing(wanted, replace(plan(), exposure={"web": (None, None)}))[0]
    assert check(manifest(), replace(plan(), exposure={"web": (1.0, 9.9)}), {}) == (), "not requested"


def test_the_rating_is_read() -> None:
    said = "after_web → Overall exposure level for ./after_web.service: 1.1 OK 🙂\nbefore_web\n"
    assert {match["name"]: match["score"] for match in _ANSWER.finditer(said)} == {"after_web": "1.1"}


def test_no_login_as_root() -> None:
    wanted = manifest(forbid_root_login=True)
    assert failing(wanted, plan(), a="deploy") == []
    assert failing(wanted, plan(), a="root", b="deploy", c="root") == [
        "forbid_root_login: dynoctl logs in as root on a, c"
    ]


def test_dynos_are_in_several_racks() -> None:
    assert failing(manifest(min_spread={"rack": 2}), plan()) == []
    together = {"web.1": "a", "web.2": "b", "worker.1": "c"}
    assert failing(manifest(min_spread={"rack": 2}), plan(homes=together)) == [
        "min_spread/rack: 2 web dynos on 1 (x) of rack, at least 2 required"
    ]
    assert failing(manifest(min_spread={"room": 1}), plan())[0] == (
        "min_spread/room: 3 web dynos on none of room, at least 1 required"
    )


def test_a_dyno_that_does_not_run_is_not_up() -> None:
    """A dyno that was left out with --target, and a dyno on an unreachable server."""
    wanted = manifest(min_healthy={"web": 2})
    assert failing(wanted, plan()) == []
    lost = replace(plan(), unreachable={"c": Unreachable("c: no answer")})
    assert failing(wanted, lost) == ["min_healthy/web: batch 1 leaves 1 web dyno up, at least 2 of 3 must be up"]
    assert failing(wanted, replace(plan(), idle=frozenset({"web.3"}))) == failing(wanted, lost)
    assert failing(wanted, replace(lost, batches=())) == [], "without restarts, no dyno is down"
    assert lost.capacity()[0] == {"web": (1, 3)}


def test_a_dyno_to_be_removed_is_up_until_the_end_of_the_rollout() -> None:
    """From four dynos to two: while one of the two restarts, three are up."""
    two = {"web.1": "a", "web.2": "b"}
    one = plan(homes=two)
    one = replace(one, formation=Formation((), two, {**two, "web.3": "c", "web.4": "a"}))
    assert failing(manifest(min_healthy={"web": 2}), one) == []
    assert one.capacity() == ({"web": (3, 4)}, {"web": (3, 4)})
