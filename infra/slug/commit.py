"""The commit of a source, as git names it."""

from __future__ import annotations

import subprocess
from pathlib import Path

TIMEOUT = 5
"""Seconds that git may take; a release without a commit is no worse."""


def commit_of(source: Path) -> str:
    """The first 12 digits of the commit that is checked out, with ``-dirty`` where files differ from it; "" where
    there is no repository, or no git."""
    argv = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
