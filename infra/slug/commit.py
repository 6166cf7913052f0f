"""What git says of a source directory and of a manifest."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from infra.model.origin import Origin, repository

TIMEOUT = 5
"""Timeout of git in seconds. It is short because a release works without a commit."""


def commit_of(source: Path) -> str:
    """The first 12 digits of the current commit, with ``-dirty`` if files differ from it; "" without a repository or
    without git."""
    return _git(source, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")


def origin_of(manifest: Path, environment: str) -> Origin:
    """The origin of a manifest file."""
    file = manifest.resolve()
    here = Origin(host=socket.gethostname(), file=str(file), environment=environment)
    top = _git(file.parent, "rev-parse", "--show-toplevel")
    if not top or not file.is_relative_to(top):
        return here
    url = _git(file.parent, "remote", "get-url", "origin")
    root = ""
    if not url and _git(file.parent, "rev-parse", "--is-shallow-repository") == "false":
        root = min(_git(file.parent, "rev-list", "--max-parents=0", "HEAD").split(), default="")
    path = str(file.relative_to(top))
    return Origin(repository(url) if url else "", root, path, here.host, here.file, environment)


def _git(directory: Path, *argv: str) -> str:
    """What git prints; "" if it fails or is not there."""
    command = ["git", "-C", str(directory), *argv]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)  # noqa: S603
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
