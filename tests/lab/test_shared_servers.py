"""Two apps on the same servers, applied at the same moment by people who do not know of each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.support import APPS, Project


@pytest.fixture
def apps(fleet: Any, tmp_path: Path) -> Iterator[list[Project]]:
    projects = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        framework = {"name": "rack", "require": "./probe", "app": "Probe"}
        project = Project(tmp_path / name, fleet, name, APPS / "probe", framework=framework)
        project.manifest["dynos"] = {"web": 1, "worker": {"count": 1, "command": "sleep 1000"}}
        projects.append(project)
    yield projects
    for project in projects:
        project.destroy()


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.soak)])
def test_two_apps_are_applied_at_once(apps: list[Project], rounds: int) -> None:
    """The first round creates both, so that they plan the same ports; then dynos come, go and restart."""
    for number in range(rounds):
        for project in apps:
            project.manifest["env"] = {"ROUND": str(number)}
            project.manifest["dynos"]["web"] = 1 + number % 3
        running = [project.start("apply", "--auto-approve") for project in apps]
        ends = [process.communicate(timeout=300) for process in running]
        for process, (out, err) in zip(running, ends, strict=True):
            assert process.returncode == 0 and "Traceback" not in err, f"round {number}:\n{out}\n{err}"
    for project in apps:
        project.settled()
        assert {row["state"] for row in project.ps().values()} == {"up"}
