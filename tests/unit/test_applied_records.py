"""Records of what was applied are read when asked for, and those that are damaged are none, as if they were read at once."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from infra.fleet.applied_records import AppliedRecords
from infra.model import answer

UNIT = {"attributes": {"unit": {"Service.User": "a"}}, "key": "unit.shop-web.1", "port": 5000}
MOUNT = {"attributes": {"a": {"key": "x"}}, "key": 'mount."odd\\'}
LINES = [
    *(json.dumps(entry, sort_keys=True) for entry in (UNIT, MOUNT)),
    '{"attributes": {"a": NaN}, "key": "a.1"}',
    '{"attributes": {"a": "\\ud800"}, "key": "a.2"}',
    '{"attributes": {"a": ' + "[" * 50 + "]" * 50 + '}, "key": "a.3"}',
    '{"attributes": [{}, "key": "a.4"}',
    '{"attributes": "{}, ", "key": "a.5"}',
    '{"attributes": {}, "key": "a.6", "port": -1}',
    '{"attributes": {}, "key": "a.7", "port": "5000"}',
    '{"attributes": {}, "key": "a.8", "port": 5000, "more": 1}',
    '{"attributes": {}, "key": 9}',
    '{"key": "a.10", "attributes": {}}',
    '{"attributes": {}, "key": "a.11"',
    '{"attributes": {"key": "a.12"}}',
    '{"attributes": {"b": {}}, "key": "a.13"}, "key": "a.14"}',
    "{}",
    "",
    "[]",
    "{" * 100_000,
]


def at_once(lines: list[str]) -> dict[str, Any]:
    found = {}
    for line in lines:
        entry = answer.record(line)
        if isinstance(entry.get("attributes"), dict) and answer.whole(entry.get("port", 0)):
            found[entry.get("key")] = entry
    return {key: entry for key, entry in found.items() if isinstance(key, str)}


@pytest.mark.parametrize("sent", [False, True])
def test_they_are_those_that_reading_at_once_finds(sent: bool) -> None:
    records = AppliedRecords()
    for line in LINES:
        records.add(line)
    if sent:
        records = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(records))))  # noqa: S301
    wanted = at_once(LINES)
    assert dict(records) == wanted and len(records) == len(wanted)
    assert records["unit.shop-web.1"] == UNIT and records['mount."odd\\'] == MOUNT
    assert "a.1" not in records and "a.3" not in records and "a.99" not in records
    assert records.get("a.2") is None and records.get("a.99") is None
    ports = records.ports()
    assert ports.items() >= {key: entry["port"] for key, entry in wanted.items() if entry.get("port")}.items()
    assert ports.keys() <= {"unit.shop-web.1", "a.8"}


def test_none_are_none() -> None:
    for records in (AppliedRecords(), pickle.loads(pickle.dumps(AppliedRecords()))):  # noqa: S301
        assert dict(records) == {} and records.get("a") is None and "a" not in records and not records.ports()


def test_what_is_sent_is_small() -> None:
    records = AppliedRecords()
    for number in range(100):
        settings = {f"Service.Setting{name}": f"value {name}" for name in range(100)}
        records.add(json.dumps({"attributes": {"unit": settings}, "key": f"unit.shop-web.{number}"}, sort_keys=True))
    assert len(pickle.dumps(records)) < 30_000
