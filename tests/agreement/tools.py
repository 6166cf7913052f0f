"""The world's own tools, asked in batches, and how many cases are generated for them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, settings

# The same cases in every run: one that fails here fails everywhere, and a change that did not cause it never shows it.
GENERATED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def ask(program: str, package: str, *argv: str, given: bytes = b"", **environment: str) -> bytes:
    """What a program prints. A tool that is missing fails the test: it never skips it."""
    found = shutil.which(program)
    if found is None:
        pytest.fail(f"{program} is not found: apt-get install {package}")
    done = subprocess.run([found, *argv], input=given, capture_output=True, env={**os.environ, **environment})
    assert done.returncode in (0, 1), f"{program}: {done.stderr.decode()}"
    return done.stdout


def calendar_moments(events: Sequence[str], base: str, count: int) -> list[list[str]]:
    """The first ``count`` moments of each ``OnCalendar=`` value after ``base``, as systemd sees them, in UTC."""
    said = ask(
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
    blocks = said.strip().split("\n\n")
    assert len(blocks) == len(events), said
    found = []
    for block in blocks:
        lines = [line.strip().partition(": ") for line in block.splitlines()]
        found.append([when for what, _, when in lines if what == "Next elapse" or what.startswith("Iter")])
    return found
