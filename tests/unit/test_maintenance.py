"""Maintenance mode on several routers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from infra.errors import DynoctlError, Unreachable
from infra.fleet import ask, lock
from infra.manifest import read
from infra.model.events import Event
from infra.model.provider import Fragment
from infra.model.resource import Command
from infra.model.shell import LockTaken, StepFailed
from infra.model.target import Target
from infra.ops import maintenance
from infra.registry import Everything
from infra.state import audit_log

MANIFEST = """\
version: 1
app: {name: shop, source: .}
framework: {name: rack, app: Shop}
dynos: {web: 1}
servers: [{name: grid-1, host: 10.0.0.1}, {name: grid-2, host: 10.0.0.2}, {name: grid-3, host: 10.0.0.3}]
router: {kind: nginx, servers: [grid-1, grid-2]}
"""


def test_reachable_routers_are_switched_if_another_one_is_unreachable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Session:
        closed = False

        def __init__(self, target: Target) -> None:
            if target.name in ("grid-1", "gone"):
                raise Unreachable(f"cannot connect to {target.name}")
            self.name = target.name
            opened.append(self)

        def observe(self, fragments: Mapping[str, Fragment]) -> Mapping[str, tuple[int, str]]:
            return {"records": (0, SEEN[self.name])}

        def close(self) -> None:
            self.closed = True

    def switch(sessions: dict[str, Any], *_: object, **more: object) -> dict[str, None]:
        assert not any(session.closed for session in sessions.values())
        return dict.fromkeys(sessions)

    opened: list[Session] = []
    monkeypatch.setattr(ask, "Session", Session)
    monkeypatch.setattr(maintenance, "_switch", switch)
    (tmp_path / "dyno.yaml").write_text(MANIFEST)
    model = read(tmp_path / "dyno.yaml", None)
    alone = maintenance.switch(model, Everything(), maintenance.PAGE)
    # The others are known from grid-2 alone: they are named, and not logged in to.
    assert {name for name, error in alone.items() if error is None} == {"grid-2", "grid-3"}
    for name in ("left", "reused", "gone"):
        assert str(alone[name]) == (
            f"{name} ({CONNECTIONS[name]['host']}) may route to shop, and is known from grid-2 alone: it is not logged "
            "in to, and not switched"
        )
    assert set(alone) == {"grid-1", "grid-2", "grid-3", "left", "reused", "gone"}
    assert {session.name for session in opened} == {"grid-2", "grid-3"}
    opened.clear()
    errors = maintenance.switch(model, Everything(), maintenance.PAGE, history=CONNECTIONS)
    assert {name: str(error) for name, error in errors.items()} == {
        "grid-2": "None",
        "grid-3": "None",  # it was taken out of router.servers, and that was not applied yet
        "left": "None",  # so was its server
        "grid-1": "cannot connect to grid-1",
        "gone": "cannot connect to gone",
        "reused": "reused: 10.0.0.8 is another machine now, which is not switched",
    }
    assert len(opened) == 4 and all(session.closed for session in opened)

    (tmp_path / "dyno.yaml").write_text(MANIFEST.partition("router:")[0])
    model = read(tmp_path / "dyno.yaml", None)
    errors = maintenance.switch(model, Everything(), maintenance.PAGE, history=CONNECTIONS)
    assert [name for name, error in errors.items() if error is None] == ["grid-3", "left"], "they serve until an apply"


@pytest.mark.parametrize("records", ["", "meta {broken"])
def test_without_any_router_nothing_is_switched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: str) -> None:
    class Session:
        def __init__(self, target: Target) -> None:
            self.name = target.name

        def observe(self, fragments: Mapping[str, Fragment]) -> Mapping[str, tuple[int, str]]:
            return {"records": (0, f"machine_id {self.name}\ncores 2\n{records}\n")}

        def close(self) -> None: ...

    monkeypatch.setattr(ask, "Session", Session)
    (tmp_path / "dyno.yaml").write_text(MANIFEST.partition("router:")[0])
    with pytest.raises(DynoctlError, match="maintenance mode needs a router"):
        maintenance.switch(read(tmp_path / "dyno.yaml", None), Everything(), maintenance.PAGE)


def test_another_destination_is_not_switched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def __init__(self, target: Target) -> None:
            self.name = target.name

        def observe(self, fragments: Mapping[str, Fragment]) -> Mapping[str, tuple[int, str]]:
            meta = json.dumps({"serial": 1, "dynos": {}, "servers": {}, "environment": "staging"})
            return {"records": (0, f"machine_id {self.name}\ncores 2\nmeta {meta}\n{ROUTE}")}

        def close(self) -> None: ...

    monkeypatch.setattr(ask, "Session", Session)
    (tmp_path / "dyno.yaml").write_text(MANIFEST)
    with pytest.raises(DynoctlError, match="grid-1 runs shop for the destination staging, not default"):
        maintenance.switch(read(tmp_path / "dyno.yaml", None), Everything(), maintenance.PAGE)


MARK = '{"app": "shop", "kind": "nginx", "hosts": [], "ports": {"80": "plain"}, "upstreams": {}}'


ROUTE = f"router open {MARK}\n"
CONNECTIONS = {
    machine: {"name": machine, "host": f"10.0.0.{number}"}
    for number, machine in enumerate(("left", "reused", "gone", "idle"), 7)
}
META = {
    "serial": 3,
    "dynos": {},
    "servers": CONNECTIONS,
    "routers": ["left", "reused", "gone"],
}
SEEN = {
    "grid-2": f"machine_id two\ncores 2\nmeta {json.dumps(META)}\n",
    "grid-3": f"machine_id three\ncores 2\nmeta \n{ROUTE}",
    "left": f"machine_id left\ncores 2\nmeta \n{ROUTE}",
    "reused": f"machine_id somebody\ncores 2\nmeta \n{ROUTE}",
    "idle": "machine_id idle\ncores 2\nmeta \n",
}
"""What the servers say. Four left the manifest: one at whose address another machine is, and one that is no router."""


class Shell:
    """A shell of a router in maintenance mode; ``broken`` is where it fails."""

    def __init__(self, name: str, broken: str) -> None:
        self.name, self.broken = name, broken
        self.ran: list[Command] = []
        self.closed = False

    def shell(self, app: str, holder: str) -> Shell:
        if self.broken == "shell":
            raise Unreachable(f"{self.name}: the connection broke")
        return self

    def take(self) -> Shell:
        if self.broken == "held":
            raise LockTaken(self.name, "root@vm")
        if self.broken == "lock":
            raise Unreachable(f"{self.name}: the connection broke")
        return self

    def run(self, commands: Sequence[Command]) -> str:
        if self.broken == "look" or (self.broken == "switch" and self.ran):
            raise StepFailed(self.name, commands[0], 1, "no space left on device")
        self.ran += commands
        mark = MARK.replace("nginx", "haproxy") if self.broken == "haproxy" else MARK
        return "" if self.broken == "no route" else f"router closed {mark}"

    def logged(self) -> list[Mapping[str, Any]]:
        """The entries of the audit log that were written here."""
        appended = audit_log.append("shop", "").argv
        return [logged for one in self.ran if one.argv == appended for logged in audit_log.parse(one.stdin.decode())]

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("broken", ["shell", "lock", "look", "switch", "no route"])
@pytest.mark.parametrize("page", [maintenance.PAGE, None])
def test_a_router_that_fails_keeps_none_of_the_others_from_switching(broken: str, page: str | None) -> None:
    shells: dict[str, Any] = {name: Shell(name, broken if name == "grid-1" else "") for name in ("grid-1", "grid-2")}
    errors = maintenance._switch(shells, Everything(), "shop", page)
    assert errors["grid-2"] is None and len(shells["grid-2"].ran) > 1
    assert "grid-1" in str(errors["grid-1"])
    assert all(shell.closed for shell in shells.values() if shell.broken != "shell")
    (logged,) = shells["grid-2"].logged()
    assert (logged["command"], logged["arguments"]) == ("maintenance", ["off" if page is None else "on"])
    assert (logged["result"], logged["changed"], logged["servers"]) == ("failed", 1, ["grid-1", "grid-2"])
    assert logged["failures"] == ["the router on grid-1 was not switched"]


def test_nothing_is_switched_while_an_apply_runs() -> None:
    shells: dict[str, Any] = {name: Shell(name, "held" if name == "grid-2" else "") for name in ("grid-1", "grid-2")}
    with pytest.raises(LockTaken):
        maintenance._switch(shells, Everything(), "shop", None)
    assert not shells["grid-1"].ran and shells["grid-1"].closed


def test_an_apply_that_runs_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a lock that is taken names --lock-timeout, and the command had no such option."""
    monkeypatch.setattr(lock, "RETRY", 0)
    shells: dict[str, Any] = {"grid-1": Shell("grid-1", "held")}

    def ends(event: Event) -> None:
        if event.kind == "note":
            assert "root@vm" in event.text
            shells["grid-1"].broken = ""

    assert maintenance._switch(shells, Everything(), "shop", None, lock_timeout=60, listener=ends) == {"grid-1": None}


def test_a_page_must_fit_the_router_that_runs() -> None:
    """The manifest may name another kind already."""
    shells: dict[str, Any] = {name: Shell(name, "haproxy" if name == "grid-1" else "") for name in ("grid-1", "grid-2")}
    errors = maintenance._switch(shells, Everything(), "shop", "x" * 20_000)
    assert errors["grid-2"] is None and maintenance.LOOK in shells["grid-1"].ran and len(shells["grid-1"].ran) == 2
    assert (
        str(errors["grid-1"])
        == "cannot show the page on grid-1: 20000 bytes; with haproxy, a page has 1 to 15360 bytes"
    )
