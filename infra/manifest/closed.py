"""A path that cannot be looked at: behind a directory that this user may not search, nothing is known to be missing."""

from __future__ import annotations

from pathlib import Path

from infra.errors import Diagnostic
from infra.manifest.paths import closed_above


def behind(path: Path, name: str) -> Diagnostic | None:
    """The error for a path, called ``name``, behind a closed directory; None if it is behind none."""
    closed = closed_above(path)
    if closed is None:
        return None
    return Diagnostic(
        f"cannot access {name}: permission denied for {closed}",
        hint=f"run dynoctl as a user who may search it: ls -ld {closed}",
    )
