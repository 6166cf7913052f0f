"""Run the reference tools in batches, and configure how their cases are generated."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, settings

# The same cases in every run and on every machine, so that a failure is always caused by the change under test.
GENERATED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def run_tool(program: str, package: str, *argv: str, given: bytes = b"", **environment: str) -> bytes:
    """The output of a program. A missing program fails the test instead of skipping it."""
    found = shutil.which(program)
    if found is None:
        pytest.fail(f"{program} not found: apt-get install {package}")
    done = subprocess.run([found, *argv], input=given, capture_output=True, env={**os.environ, **environment})
    assert done.returncode in (0, 1), f"{program}: {done.stderr.decode()}"
    return done.stdout


def calendar_times(events: Sequence[str], base: str, count: int) -> list[list[str]]:
    """The first ``count`` elapse times of each ``OnCalendar=`` value after ``base``, computed by systemd, in UTC."""
    output = run_tool(
        "systemd-analyze",
        "systemd",
        "calendar",
        f"--base-time={base}",
        f"--iterations={count}",
        *events,
        TZ="UTC",
        LC_ALL="C.UTF-8",
        SYSTEMD_COLORS="0",
    ).decode()
    blocks = output.strip().split("\n\n")
    assert len(blocks) == len(events), output
    found = []
    for block in blocks:
        lines = [line.strip().partition(": ") for line in block.splitlines()]
        found.append([when for what, _, when in lines if what == "Next elapse" or what.startswith("Iter")])
    return found
