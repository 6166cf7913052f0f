"""The server on which a one-off dyno runs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.errors import DynoctlError
from infra.fleet import ask
from infra.fleet.inventory import targets
from infra.manifest import read
from infra.model.target import Target
from infra.ops import one_off
from infra.registry import Everything

MANIFEST = """\
version: 1
app: {name: shop, source: .}
framework: {name: rack, app: Shop}
dynos: {web: 1}
servers: [{name: grid-1, host: 10.0.0.1}]
"""


def test_nothing_runs_in_another_destination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the wrong -d, a command ran with the secrets and the database of production."""

    class Session:
        closed = False

        def __init__(self, target: Target) -> None:
            self.name = target.name
            opened.append(self)

        def run(self, script: str, *, what: str, proof: str) -> SimpleNamespace:
            return SimpleNamespace(stdout="")

        def close(self) -> None:
            self.closed = True

    opened: list[Session] = []
    meta = json.dumps({"serial": 1, "dynos": {}, "servers": {}, "environment": "staging"})
    parts = {"vitals": (0, ""), "bases": (0, ""), "records": (0, f"meta {meta}\n")}
    monkeypatch.setattr(ask, "Session", Session)
    monkeypatch.setattr(one_off, "sections", lambda *_: parts)
    monkeypatch.setattr(one_off.vitals, "parse", lambda *_: SimpleNamespace(load=(0.0,), cores=1))
    (tmp_path / "dyno.yaml").write_text(MANIFEST)
    manifest = read(tmp_path / "dyno.yaml", None)
    with pytest.raises(DynoctlError, match="grid-1 runs shop for the destination staging, not default"):
        one_off.find(manifest, Everything.runs, targets(manifest))
    assert [session.closed for session in opened] == [True]
