"""Changes due to another version of dynoctl have that as their reason, and no other changes do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from infra.fleet import facts as server_facts
from infra.model import release
from infra.model.resource import Action, Change, Resource
from infra.plan.upgrade import Build, explain, reason

HERE = Build("0.2.0", "cafe")
MANIFEST = "a" * 64
LAST = release.new(3, "slug", "{}", manifest=MANIFEST[:12])
FIRST = {"dynoctl": "0.1.0"}
CERTAIN = "dynoctl 0.2.0 writes it differently than 0.1.0 did"
UNCERTAIN = "dynoctl 0.2.0 may write it differently than 0.1.0 did"


@pytest.mark.parametrize(
    ("settled", "changed", "says"),
    [
        # Records of 0.1.0 have no manifest digest; its releases have it.
        (FIRST, {}, CERTAIN),
        (FIRST, {"manifest": "b" * 64}, UNCERTAIN),
        (FIRST, {"last": None}, UNCERTAIN),
        ({**FIRST, "manifest": MANIFEST[:12]}, {"last": None}, CERTAIN),
        ({**FIRST, "manifest": "b" * 12}, {}, UNCERTAIN),
        # A new release of the same manifest and source: a secret changed, or this version launches the app differently.
        (FIRST, {"fresh": True}, UNCERTAIN),
        (FIRST, {"fresh": True, "slug": "other"}, ""),
        (FIRST, {"fresh": True, "manifest": "b" * 64}, ""),
        # The same version with other code, as in a checkout; and the same build.
        (
            {"dynoctl": "0.2.0", "code": "beef", "manifest": MANIFEST[:12]},
            {},
            "dynoctl 0.2.0 (code cafe) writes it differently than 0.2.0 (code beef) did",
        ),
        (HERE.settled(MANIFEST), {"manifest": "b" * 64}, ""),
        # The first apply was never completed.
        ({}, {}, ""),
        (None, {}, ""),
    ],
)
def test_the_reason(settled: dict[str, str] | None, changed: dict[str, Any], says: str) -> None:
    given: dict[str, Any] = {"manifest": MANIFEST, "last": LAST, "fresh": False, "slug": "slug", **changed}
    assert reason({"settled": settled}, HERE, **given) == says


def test_records_of_the_first_version_are_recognised() -> None:
    meta = {"version": 1, "serial": 1, "dynos": {}, "servers": {}}
    for more, expected in (({}, FIRST), ({"dynoctl": "0.2.0"}, {}), ({"dynoctl": "0.2.0", "settled": 7}, {})):
        text = f"machine_id m1\ncores 2\nmeta {json.dumps({**meta, **more})}\n"
        assert server_facts.parse(text).meta["settled"] == expected


def change(action: Action, dyno: str | None, kind: str, why: str = "", *, drift: bool = False) -> Change:
    there, wanted = {"x": "y"}, {"x": "z"}
    return Change(Resource("grid-1", kind, f"shop-{dyno}", wanted, dyno), action, there, wanted, why, drift)


def test_what_is_explained() -> None:
    changes = [
        change(Action.UPDATE, "web.1", "env_file"),
        change(Action.RESTART, "web.1", "unit", "env_file changes"),
        change(Action.UPDATE, "web.2", "unit", "changed on the server", drift=True),
        change(Action.RESTART, "web.2", "unit", "asked for"),
        change(Action.CREATE, "web.3", "unit"),
        change(Action.DELETE, "web.4", "unit", "not in dyno.yaml"),
        change(Action.UPDATE, None, "slice"),
        change(Action.RESTART, None, "router", "asked for"),
        replace(change(Action.UPDATE, "web.5", "env_file", "recorded as no secret: KEY"), after={"x": "y"}),
    ]
    assert [one.reason for one in explain(changes, "WHY")] == [
        *(
            "WHY",
            "env_file changes; WHY",
            "changed on the server",
            "asked for",
            "",
            "not in dyno.yaml",
            "WHY",
            "asked for",
            "recorded as no secret: KEY",
        )
    ]
    assert explain(changes, "") == tuple(changes)
