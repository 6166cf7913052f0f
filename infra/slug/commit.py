"""The git commit of a source directory."""

from __future__ import annotations

import subprocess
from pathlib import Path

TIMEOUT = 5
"""Timeout of git in seconds. It is short because a release works without a commit."""


def commit_of(source: Path) -> str:
    """The first 12 digits of the current commit, with ``-dirty`` if files differ from it; "" without a repository or
    without git."""
    argv = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
