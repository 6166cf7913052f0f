"""Maintenance mode on several routers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.errors import Unreachable
from infra.fleet import ask
from infra.manifest import read
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
            opened.append(self)

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
        "grid-1": "cannot connect to grid-1",
    }
    assert len(opened) == 1 and opened[0].closed
