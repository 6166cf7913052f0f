"""The check, in a real shell, that a dyno has stayed healthy since its batch was changed."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from infra.model.provider import Scope
from infra.model.resource import Action, Change, Resource
from providers import dyno_unit
from providers.dyno_unit import DynoUnit
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


@pytest.mark.parametrize("action", [Action.UPDATE, Action.RESTART])
def test_the_restarts_of_the_process_before_do_not_count(action: Action) -> None:
    """It may crash just as the apply restarts it, and systemd 252 keeps the count of a dyno that is down for a moment."""
    dyno = DynoUnit("shop", "worker.1", ("x",), {}, "cafe" * 16, cpu=250, memory=1 << 29)
    after, resource = dyno_unit.attributes(dyno), Resource("grid-1", "unit", "shop-worker.1", {}, "worker.1")
    change = Change(resource, action, dyno_unit.attributes(replace(dyno, memory=1 << 28)), after)
    scripts = [" ".join(command.argv) for command in Unit().steps(Scope("shop", "s"), change)]
    (reset,) = (number for number, script in enumerate(scripts) if "systemctl reset-failed" in script)
    assert scripts[reset].endswith(" dyno-shop-worker-1.service") and "restart" in scripts[reset + 1]
