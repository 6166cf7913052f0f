"""A server's control groups: without one of its own per controller, a CPU quota inside it would do nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from infra.lab.state import LabState

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "pids", "memory", "systemd", "unified")
"""The last two are systemd's own trees: two servers in one group there would move each other's processes."""


def hierarchies() -> list[Path]:
    """The mounted v1 controllers; none on a machine with cgroup v2 alone, where the container gets its own."""
    return list(
        dict.fromkeys((ROOT / name).resolve() for name in CONTROLLERS if (ROOT / name / "cgroup.procs").exists())
    )


def groups(lab: LabState, server: str) -> list[Path]:
    """The server's group in each hierarchy."""
    return [root / "dynolab" / lab.name / server for root in hierarchies()]


def make(lab: LabState, server: str) -> list[Path]:
    """Make the server's groups."""
    made = groups(lab, server)
    for group in made:
        group.mkdir(parents=True, exist_ok=True)
    return made


def processes(lab: LabState, server: str) -> set[int]:
    """Every process inside the server, whatever it calls itself."""
    found: set[int] = set()
    for group in groups(lab, server)[:1]:
        for file in group.rglob("cgroup.procs"):
            try:
                found.update(int(line) for line in file.read_text().split())
            except OSError:
                continue
    return found


def kill(lab: LabState, server: str) -> None:
    """End every process inside the server at once."""
    for _ in range(100):
        pids = processes(lab, server)
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def remove(lab: LabState, server: str) -> None:
    """Remove the server's groups, from the leaves up, and the lab's own where they are empty."""
    for group in groups(lab, server):
        below = sorted(group.rglob("*/"), reverse=True) if group.is_dir() else []
        for path in [*below, group, group.parent, group.parent.parent]:
            try:
                path.rmdir()
            except OSError:
                continue  # a group that still has processes, or another lab's, stays
