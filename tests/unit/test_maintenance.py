"""Maintenance mode on several routers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from infra.errors import Unreachable
from infra.fleet import ask
from infra.manifest import read
from infra.model.resource import Command
from infra.model.shell import LockTaken, StepFailed
from infra.model.target import Target
from infra.ops import maintenance
from infra.registry import Everything

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
            if target.name == "grid-1":
                raise Unreachable("cannot connect to grid-1")
            self.name = target.name
            opened.append(self)

        def execute(self, _: Command) -> tuple[int, str]:
            return 0, f"router open {MARK}\n" if self.name == "grid-3" else ""

        def close(self) -> None:
            self.closed = True

    def switch(sessions: dict[str, Any], *_: object) -> dict[str, None]:
        assert not any(session.closed for session in sessions.values())
        return dict.fromkeys(sessions)

    opened: list[Session] = []
    monkeypatch.setattr(ask, "Session", Session)
    monkeypatch.setattr(maintenance, "_switch", switch)
    (tmp_path / "dyno.yaml").write_text(MANIFEST)
    errors = maintenance.switch(read(tmp_path / "dyno.yaml", None), Everything(), maintenance.PAGE)
    assert {name: str(error) for name, error in errors.items()} == {
        "grid-2": "None",
        "grid-3": "None",  # it was taken out of router.servers, and that was not applied yet
        "grid-1": "cannot connect to grid-1",
    }
    assert len(opened) == 2 and all(session.closed for session in opened)


MARK = '{"app": "shop", "kind": "nginx", "hosts": [], "ports": {"80": "plain"}, "upstreams": {}}'


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
        return "" if self.broken == "no route" else f"router closed {MARK}"

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


def test_nothing_is_switched_while_an_apply_runs() -> None:
    shells: dict[str, Any] = {name: Shell(name, "held" if name == "grid-2" else "") for name in ("grid-1", "grid-2")}
    with pytest.raises(LockTaken):
        maintenance._switch(shells, Everything(), "shop", None)
    assert not shells["grid-1"].ran and shells["grid-1"].closed
