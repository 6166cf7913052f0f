"""What it costs to look at a fleet, and to run in it: whole processes, beside the least that SSH itself takes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from infra.lab import server as servers
from infra.lab.state import LabState
from tests.bench.tools import Row, dynoctl

RUNS = 7
LINES = 1000


def watching(project: Path, lab: LabState) -> list[Row]:
    """The rows of the table: 8 servers that run the app, with a thousand lines in the journal of each."""
    talk = ["systemd-run", "-q", "--wait", "--slice=dyno-shop.slice", "--unit=dyno-shop-talk-1", "seq", str(LINES)]
    for name in lab.grid:
        servers.execute(lab, name, talk)
        servers.execute(lab, name, ["journalctl", "--sync"])
    count = len(dynoctl(project, "logs", "-n", str(LINES)).splitlines())
    if count != LINES:
        raise SystemExit(f"logs printed {count} lines, not {LINES}")
    config = str(lab.path / "ssh_config")

    def floor() -> None:
        argv = [["ssh", "-F", config, name, "true"] for name in lab.grid]
        for process in [subprocess.Popen(one) for one in argv]:
            if process.wait() != 0:
                raise SystemExit("ssh failed")

    works = {
        "ssh": floor,
        "python": lambda: subprocess.run([sys.executable, "-c", "import fabric, paramiko, typer"], check=True),
        "ps": lambda: dynoctl(project, "ps"),
        "logs": lambda: dynoctl(project, "logs", "-n", str(LINES)),
        "ssh one": lambda: subprocess.run(["ssh", "-F", config, lab.grid[0], "true"], check=True),
        "run": lambda: dynoctl(project, "run", "--server", lab.grid[0], "true"),
        "run anywhere": lambda: dynoctl(project, "run", "true"),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(RUNS):  # in turn, so that all have the same machine
        for name, work in works.items():
            began = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - began)
    spent = {name: sorted(one)[len(one) // 2] for name, one in times.items()}
    beside = f"ssh true in parallel {spent['ssh']:.2f} s, imports alone {spent['python']:.2f} s"
    size = len(lab.grid)
    return [
        (f"ps, {size} servers", f"{spent['ps']:.2f} s, whole process; {beside}", "under 1.2 s", spent["ps"] < 1.2),
        (
            f"logs -n {LINES}, {size} servers",
            f"{spent['logs']:.2f} s, whole process; {beside}",
            "under 2 s",
            spent["logs"] < 2,
        ),
        (
            "run true",
            f"{spent['run']:.2f} s, whole process ({spent['run anywhere']:.2f} s where it looks for the least loaded of "
            f"{size}); ssh server true {spent['ssh one']:.2f} s",
            "at most 1 s more",
            spent["run"] - spent["ssh one"] <= 1,
        ),
    ]
