"""What git says of a source directory and of a manifest."""

from __future__ import annotations

import socket
from pathlib import Path

from infra.manifest.git import git
from infra.model.origin import Origin, repository


def commit_of(source: Path) -> str:
    """The first 12 digits of the current commit, with ``-dirty`` if files differ from it; "" without a repository or
    without git.

    A file that a filter of git changes, as git-lfs does, may count as different: filters are not run. Changes inside a
    submodule do not count, only another commit of it does."""
    commit = _git(source, "rev-parse", "--short=12", "--verify", "--quiet", "HEAD")
    if not commit:
        return ""
    options = ("--porcelain=v1", "-z", "--untracked-files=no", "--ignore-submodules=dirty", "--no-renames")
    status = git(source, "status", *options)
    return "" if status.status != 0 else f"{commit}-dirty" if status.output else commit


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
    answer = git(directory, *argv)
    return answer.output.strip() if answer.status == 0 else ""
