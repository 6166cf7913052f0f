"""What the measurements share: run dynoctl as a whole process, find a dyno's address, wait for its first 200."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
DYNOCTL = str(Path(sys.executable).parent / "dynoctl")

Row = tuple[str, str, str, bool]
"""What was measured, how much it was, what it must reach, and whether it did."""


def dynoctl(project: Path, *argv: str) -> str:
    """Run one command; its stdout. Ends the bench where it fails."""
    done = subprocess.run([DYNOCTL, *argv], cwd=project, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"dynoctl {' '.join(argv)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def next_address(project: Path) -> str:
    """Where the one dyno that a plan starts will listen."""
    changes = json.loads(dynoctl(project, "plan", "--json"))["changes"]
    unit = next(change["after"]["unit"] for change in changes if change["kind"] == "unit")
    return f"http://{unit['Unit.X-Dynoctl-Listen']}:{unit['Unit.X-Dynoctl-Port']}/"


def poll(address: str, first: list[float], stop: threading.Event) -> None:
    """Ask until somebody answers 200; then append the moment."""
    deadline = time.perf_counter() + 60
    while not stop.is_set() and time.perf_counter() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=2) as answer:
                if answer.status == 200:
                    first.append(time.perf_counter())
                    return
        except (OSError, urllib.error.URLError):
            time.sleep(0.01)


def say(text: str) -> None:
    """Tell whoever waits; stdout is for the table."""
    print(text, file=sys.stderr, flush=True)
