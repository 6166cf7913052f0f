"""What git says of a source directory and of a manifest."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from pathlib import Path

from infra.manifest.git import git
from infra.model.origin import Origin, repository
from infra.model.source_change import MOST, SourceChange
from infra.slug.own_files import is_own

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_STATUS = ("--porcelain=v1", "-z", "--untracked-files=no", "--ignore-submodules=dirty", "--no-renames")
_HEADER = re.compile(r"commit [0-9a-f]{40,64}")


def commit_of(source: Path) -> str:
    """The first 12 digits of the current commit, with ``-dirty`` if files of the source differ from it, dynoctl's own
    aside, which are in no slug; "" without a repository or without git.

    A file that a filter of git changes, as git-lfs does, may count as different: filters are not run. Changes inside a
    submodule do not count, only another commit of it does."""
    commit = _git(source, "rev-parse", "--short=12", "--verify", "--quiet", "HEAD")
    if not commit:
        return ""
    uncommitted = _uncommitted(source)
    return "" if uncommitted is None else f"{commit}-dirty" if uncommitted else commit


def changed_since(source: Path, released: str) -> SourceChange | None:
    """What changed in the source since the commit of a release, as ``commit_of`` said it, without dynoctl's own files.
    None if git cannot tell, as without a repository or where that commit is not in it."""
    then = released.removesuffix("-dirty")
    if not _COMMIT.fullmatch(then) or not (now := commit_of(source).removesuffix("-dirty")):
        return None
    span = f"{then}..{now}"
    log = git(source, "rev-list", "--format=%s", "--max-count=1000", span, "--", ".")
    committed = _committed(source, then, now)
    uncommitted = _uncommitted(source)
    if log.status != 0 or committed is None or uncommitted is None:
        return None
    subjects = [line for line in log.output.split("\n") if not _HEADER.fullmatch(line)][:-1]
    dirty = released.endswith("-dirty")
    return SourceChange(
        tuple(subjects[:MOST]),
        tuple(committed[:MOST]),
        max(0, len(subjects) - MOST),
        max(0, len(committed) - MOST),
        dirty=dirty or bool(uncommitted),
        uncommitted=tuple(uncommitted[:MOST]),
        more_uncommitted=max(0, len(uncommitted) - MOST),
        released_dirty=dirty,
    )


def _committed(source: Path, then: str, now: str) -> list[tuple[str, str]] | None:
    options = ("-r", "-z", "--no-renames", "--name-status", "--relative")
    names = git(source, "diff-tree", *options, then, now, "--", ".")
    words = names.output.split("\0")
    return _in_slug(zip(words[::2], words[1::2], strict=False)) if names.status == 0 else None


def _uncommitted(source: Path) -> list[tuple[str, str]] | None:
    top = git(source, "rev-parse", "--show-prefix")
    status = git(source, "status", *_STATUS, "--", ".")
    if top.status != 0 or status.status != 0:
        return None
    prefix = top.output.removesuffix("\n")  # git names the files from the top of the repository
    lines = [line for line in status.output.split("\0") if line]
    return _in_slug((_mark(line[:2]), line[3:].removeprefix(prefix)) for line in lines)


def _mark(status: str) -> str:
    """``A``, ``M`` or ``D`` for what git says of a file in the index and of it in the working tree."""
    return "D" if "D" in status else "A" if status[0] == "A" else "M"


def _in_slug(files: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(status[:1], path) for status, path in files if not is_own(path.encode())]


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
