"""The check, in a real shell, that a dyno has stayed healthy since its batch was changed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from infra.model.provider import Scope
from infra.model.resource import Action, Change, Resource
from providers.unit import Unit

SYSTEMCTL = """\
#!/bin/sh
for unit; do :; done
case $1 in
  is-active) [ "$(cat "$STATES/$unit")" = active ] ;;
  show) cat "$STATES/NRestarts" ;;
esac
"""


@pytest.mark.parametrize(
    ("service", "ready", "restarts", "said"),
    [
        ("active", "active", 0, ""),
        ("active", "active", 1, "it exited and was restarted\n"),
        ("activating", "inactive", 0, "it is not running\n"),  # it has exited, and is restarted in a moment
        ("active", "failed", 0, "it is not running\n"),
        ("failed", "inactive", 0, "it is not running\n"),
    ],
)
def test_a_dyno_that_stays_healthy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: str, ready: str, restarts: int, said: str
) -> None:
    """systemd counts a restart only once it begins, so the count alone misses a dyno that is down at that moment."""
    (tmp_path / "systemctl").write_text(SYSTEMCTL)
    (tmp_path / "systemctl").chmod(0o755)
    (tmp_path / "dyno-shop-worker-1.service").write_text(service)
    (tmp_path / "dyno-shop-worker-1-ready.service").write_text(ready)
    (tmp_path / "NRestarts").write_text(str(restarts))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("STATES", str(tmp_path))
    resource = Resource("grid-1", "unit", "shop-worker.1", {}, "worker.1")
    command = Unit().alive(Scope("shop", "s"), Change(resource, Action.UPDATE, {}, {}))
    assert command is not None
    done = subprocess.run(command.argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1 if said else 0, said)
