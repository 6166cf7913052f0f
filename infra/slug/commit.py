"""What git says of a source directory and of a manifest."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from infra.manifest.git import git
from infra.model.origin import Origin, repository
from infra.model.source_change import MOST, SourceChange

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_HEADER = re.compile(r"commit [0-9a-f]{40,64}")


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


def changed_since(source: Path, released: str) -> SourceChange | None:
    """What changed in the source since the commit of a release, as ``commit_of`` said it. None if git cannot tell, as
    without a repository or where that commit is not in it."""
    then = released.removesuffix("-dirty")
    if not _COMMIT.fullmatch(then) or not (now := commit_of(source)):
        return None
    span = f"{then}..{now.removesuffix('-dirty')}"
    log = git(source, "rev-list", "--format=%s", "--max-count=1000", span, "--", ".")
    names = git(
        source, "diff-tree", "-r", "-z", "--no-renames", "--name-status", "--relative", *span.split(".."), "--", "."
    )
    if log.status != 0 or names.status != 0:
        return None
    subjects = [line for line in log.output.split("\n") if not _HEADER.fullmatch(line)][:-1]
    words = names.output.split("\0")
    files = [(status[:1], path) for status, path in zip(words[::2], words[1::2], strict=False)]
    return SourceChange(
        tuple(subjects[:MOST]),
        tuple(files[:MOST]),
        max(0, len(subjects) - MOST),
        max(0, len(files) - MOST),
        dirty=now.endswith("-dirty") or released.endswith("-dirty"),
    )


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
