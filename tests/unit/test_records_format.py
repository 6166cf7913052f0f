"""Records of other versions: older formats are read, newer ones refused with both versions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from infra import __version__
from infra.errors import DynoctlError, NewerRecords, Unreachable
from infra.fleet import facts as server_facts
from infra.fleet import meta_record
from infra.fleet.meta_record import RECORDS_FORMAT
from infra.fleet.observe import Fleet, Observer, observe
from infra.model.provider import Fragment, Scope
from infra.model.shell import Session
from infra.model.target import Target
from infra.state import audit_log, records, release_body
from infra.views import history
from infra.views.style import Style

META = {"serial": 7, "dynos": {"web.1": "m1"}, "servers": {"m1": {"name": "grid-1"}}, "environment": "default"}


def said(meta: Mapping[str, Any]) -> str:
    return f"machine_id m1\ncores 2\nsystemd systemd 252\nmeta {json.dumps(meta)}\n"


@pytest.mark.parametrize("version", [{}, {"version": 1}, {"version": "2"}, {"version": None}], ids=str)
def test_older_records_are_read(version: dict[str, Any]) -> None:
    """0.1.0 wrote a 1 and no version of dynoctl. An invalid format number is ignored as damage."""
    assert server_facts.parse(said({**META, **version})).meta["dynos"] == {"web.1": "m1"}


def test_what_is_written_is_read() -> None:
    _, text = records.meta(
        "shop",
        "default",
        serial=8,
        who="who",
        when="when",
        homes={},
        servers={},
        spares={},
        settled={"dynoctl": "1"},
    )
    meta = json.loads(text or "")
    assert (meta["version"], meta["dynoctl"]) == (RECORDS_FORMAT, __version__)
    assert server_facts.parse(said(meta)).meta["serial"] == 8


@pytest.mark.parametrize(
    ("meta", "writer"),
    [
        ({**META, "dynoctl": "9.1.0"}, "dynoctl 9.1.0"),
        ({"formation": "of another form altogether"}, "dynoctl (unknown version)"),
    ],
)
def test_newer_records_are_refused_with_both_versions(meta: dict[str, Any], writer: str) -> None:
    newer = RECORDS_FORMAT + 1
    with pytest.raises(NewerRecords) as caught:
        server_facts.parse(said({**meta, "version": newer}))
    assert caught.value.summary == (
        f"records have format {newer}, written by {writer}; dynoctl {__version__} reads formats up to {RECORDS_FORMAT}"
    )
    assert caught.value.exit_code == 1


class Server:
    """A server that prints the given output, or is unreachable."""

    def __init__(self, name: str, text: str | None) -> None:
        self.name, self.text, self.closed = name, text, False

    def observe(self, fragments: Mapping[str, Fragment], timeout: float = 60) -> dict[str, tuple[int, str]]:
        if self.text is None:
            raise Unreachable(f"{self.name}: no route")
        return dict.fromkeys(fragments, (0, self.text))

    def close(self) -> None:
        self.closed = True


def test_nothing_is_planned_around_a_server_with_newer_records() -> None:
    """The server is reachable, so it cannot be skipped or evacuated."""
    newer = said({**META, "version": RECORDS_FORMAT + 1, "dynoctl": "9.1.0"})
    servers = {
        "grid-1": Server("grid-1", said(META)),
        "grid-2": Server("grid-2", newer),
        "grid-3": Server("grid-3", None),
    }
    targets = [Target(name, "127.0.0.1", "root", 22, Path("key"), Path("known_hosts")) for name in servers]
    fleet = Fleet()
    with pytest.raises(NewerRecords, match=r"^grid-2: records have format 2, written by dynoctl 9\.1\.0; "):
        observe(
            targets, Observer((), Scope("shop", ""), "", ()), fleet, lambda target: cast(Session, servers[target.name])
        )
    assert set(fleet.unreachable) == {"grid-3"}
    fleet.close()
    assert [server.closed for server in servers.values()] == [True, True, True], "no connection is left open"


ENTRY = {
    "id": "a1",
    "when": "2026-11-29T10:44:00Z",
    "who": "ann@vm",
    "command": "apply",
    "result": "ok",
    "seconds": 2.4,
}


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        (ENTRY, []),
        ({**ENTRY, "arguments": ["--evacuate", "grid-2"]}, ["--evacuate", "grid-2"]),
        ({**ENTRY, "arguments": ["web=3", 7, None, ["x"]], "of a later version": {"a": [1]}}, ["web=3"]),
        ({**ENTRY, "arguments": "web=3"}, []),
    ],
    ids=["of 0.1.0", "of today", "of a later version", "damaged"],
)
def test_the_audit_log_of_another_version_is_read(line: Mapping[str, Any], arguments: Sequence[str]) -> None:
    (entry,) = audit_log.parse(json.dumps(line))
    assert entry["arguments"] == arguments
    assert {name: entry[name] for name in ENTRY} == ENTRY and "of a later version" not in entry
    assert " ".join(["apply", *arguments]) in history.table([entry], Style(False))


def test_a_newer_release_is_refused_with_both_versions() -> None:
    with pytest.raises(DynoctlError, match=rf"v7: format 9, and dynoctl {__version__} reads format 1"):
        release_body.unpack(7, '{"version": 9}', lambda version, requirement: True)


def test_two_records_with_one_serial_have_one_order() -> None:
    """The plan took one of them, and the records the other: each plan changed the address of every dyno again."""
    first, second = ({"serial": 2, "when": f"2026-11-2{day}", "dynos": {}, "servers": {}} for day in (1, 2))
    assert max((first, second), key=meta_record.order) == max((second, first), key=meta_record.order) == second


def test_the_newest_record_is_one_that_a_server_can_have() -> None:
    first, second, far = ({"serial": serial, "dynos": {}, "servers": {}} for serial in (2, 3, 10**9))
    assert meta_record.newest([]) == meta_record.newest([{}]) == {}
    assert meta_record.newest([second, {}, first]) == second
    assert meta_record.newest([far, first, second]) == second
    assert meta_record.newest([far]) == far and meta_record.newest([far, dict(far)]) == far
    one, other = ({**second, "when": f"2026-11-2{day}"} for day in (1, 2))
    assert meta_record.newest([one, other]) == meta_record.newest([other, one]) == other


def test_equal_records_are_parsed_once() -> None:
    text = json.dumps(META)
    assert meta_record.parse(text) is meta_record.parse(text)
