"""One server of the fleet is in somebody else's hands: what it says harms nobody but itself."""

from __future__ import annotations

import json

import pytest

from infra.errors import OK, UNREACHABLE
from tests.simulation import facts
from tests.simulation.app import deployed, running
from tests.simulation.harness import manifest
from tests.simulation.server import STATE, SimServer

HOME = f"{STATE}/shop"
DEEP = "[" * 100_000

GARBAGE = {
    "nothing": "",
    "another machine": "machine_id ../../etc\ncores 4\nsystemd systemd 252\nmeta ",
    "superscript": "machine_id m\ncores ²\nsystemd systemd 252\nmeta ",
    "infinite": "machine_id m\ncores 1e999\nsystemd systemd 252\nmeta ",
    "terminal": "\x1b[2J\x1b]0;x\x07",
}

DAMAGED = {
    "meta.json": [DEEP, "{}", "null", '{"serial": "7", "dynos": {}, "servers": {}}', '{"serial": 1e999}'],
    "releases/1.json": [DEEP, '{"number": true}', '{"number": "²"}', '{"number": 1, "when": 7}', '{"number": -1}'],
    "applied/unit.shop-web.1.json": [
        DEEP,
        '{"key": "unit.shop-web.1", "attributes": {}, "port": "x"}',
        '{"attributes": []}',
    ],
    "origin": [DEEP, "null", '{"file": 7}'],
}


@pytest.mark.parametrize("name", GARBAGE)
def test_a_server_that_says_nonsense_stops_nobody_else(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = deployed("s1", "s2", "s3", web=3)
    told = facts.render

    def lie(server: SimServer, app: str, reached_by: str) -> str:
        return GARBAGE[name] if server.host == "s2" else told(server, app, reached_by)

    monkeypatch.setattr(facts, "render", lie)
    fleet["s2"].cache.clear()
    outcome = fleet.apply(manifest("s1", "s2", "s3", web=3, slug="b"), skip_unreachable=False)
    assert outcome.code == UNREACHABLE and outcome.plan is not None
    assert str(outcome.plan.unreachable["s2"]).startswith("s2: its answer is invalid: ")
    assert sorted(running(fleet).values()) == ["a", "b", "b"]


@pytest.mark.parametrize(("file", "text"), [(file, text) for file, texts in DAMAGED.items() for text in texts])
def test_a_record_that_is_nonsense_stops_nothing(file: str, text: str) -> None:
    fleet = deployed("s1", "s2", "s3", web=3)
    fleet["s2"].files[f"{HOME}/{file}"] = text
    fleet["s2"].version += 1
    assert fleet.apply(manifest("s1", "s2", "s3", web=3, slug="b")).code == OK
    assert set(running(fleet).values()) == {"b"}
    assert fleet.rollback(manifest("s1", "s2", "s3", web=3, slug="b")).code == OK
    assert json.loads(fleet["s2"].files[f"{HOME}/meta.json"])["serial"] > 0
