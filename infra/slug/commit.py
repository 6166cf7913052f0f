"""What git says of a source directory and of a manifest."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from infra.manifest.git import git
from infra.model.origin import Origin, repository
from infra.model.source_change import MOST, SourceChange
from infra.slug.own_files import is_own

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_STATUS = ("--porcelain=v1", "-z", "--untracked-files=no", "--ignore-submodules=dirty", "--no-renames")
_HEADER = re.compile(r"commit [0-9a-f]{40,64}")


Holds = Callable[[str], bool]
"""Whether a path of the source is in its slug, or would be if the source had it."""


def _all_but_own(path: str) -> bool:
    return not is_own(os.fsencode(path))


def commit_of(source: Path, holds: Holds = _all_but_own) -> str:
    """The first 12 digits of the current commit, with ``-dirty`` if what is in the slug differs from it, new files that
    git does not track included; "" without a repository or without git.

    A file that a filter of git changes, as git-lfs does, may count as different: filters are not run. Changes inside a
    submodule do not count, only another commit of it does."""
    commit = _head(source)
    if not commit:
        return ""
    uncommitted = _uncommitted(source, holds)
    return "" if uncommitted is None else f"{commit}-dirty" if uncommitted or _untracked(source, holds) else commit


def changed_since(source: Path, released: str, holds: Holds = _all_but_own) -> SourceChange | None:
    """What changed in the source since the commit of a release, as ``commit_of`` said it, without what is in no slug.
    None if git cannot tell, as without a repository or where that commit is not in it."""
    then = released.removesuffix("-dirty")
    if not _COMMIT.fullmatch(then) or not (now := _head(source)):
        return None
    span = f"{then}..{now}"
    log = git(source, "rev-list", "--format=%s", "--max-count=1000", span, "--", ".")
    committed = _committed(source, then, now, holds)
    uncommitted, untracked = _uncommitted(source, holds), _untracked(source, holds)
    if log.status != 0 or committed is None or uncommitted is None:
        return None
    subjects = [line for line in log.output.split("\n") if not _HEADER.fullmatch(line)][:-1]
    dirty = released.endswith("-dirty")
    return SourceChange(
        tuple(subjects[:MOST]),
        tuple(committed[:MOST]),
        max(0, len(subjects) - MOST),
        max(0, len(committed) - MOST),
        dirty=dirty or bool(uncommitted or untracked),
        uncommitted=tuple(uncommitted[:MOST]),
        more_uncommitted=max(0, len(uncommitted) - MOST),
        released_dirty=dirty,
        untracked=tuple(untracked[:MOST]),
        more_untracked=max(0, len(untracked) - MOST),
    )


def _head(source: Path) -> str:
    return _git(source, "rev-parse", "--short=12", "--verify", "--quiet", "HEAD")


def _committed(source: Path, then: str, now: str, holds: Holds) -> list[tuple[str, str]] | None:
    options = ("-r", "-z", "--no-renames", "--name-status", "--relative")
    names = git(source, "diff-tree", *options, then, now, "--", ".")
    words = names.output.split("\0")
    return _in_slug(zip(words[::2], words[1::2], strict=False), holds) if names.status == 0 else None


def _uncommitted(source: Path, holds: Holds) -> list[tuple[str, str]] | None:
    top = git(source, "rev-parse", "--show-prefix")
    status = git(source, "status", *_STATUS, "--", ".")
    if top.status != 0 or status.status != 0:
        return None
    prefix = top.output.removesuffix("\n")  # git names the files from the top of the repository
    lines = [line for line in status.output.split("\0") if line]
    return _in_slug(((_mark(line[:2]), line[3:].removeprefix(prefix)) for line in lines), holds)


def _untracked(source: Path, holds: Holds) -> list[str]:
    """The new files that git neither tracks nor ignores, with one path for a directory of which it tracks nothing. []
    if git cannot list them, as on a slow disk: the rest of what it says is as true without them."""
    new = _others(source, "--directory", "--no-empty-directory")
    if new == ["./"]:  # it tracks nothing of the source
        new = _others(source, "--directory", "--no-empty-directory", paths=_names(source))
    return [path for path in new if holds(path)]


def _names(source: Path) -> list[str]:
    with suppress(OSError):
        return sorted(name for name in os.listdir(source) if name != ".git")  # noqa: PTH208 - names, not paths
    return []


def _others(source: Path, *options: str, paths: Sequence[str] = (".",)) -> list[str]:
    answer = git(source, "ls-files", "-z", "--others", "--exclude-standard", *options, "--", *paths)
    return [path for path in answer.output.split("\0") if path] if answer.status == 0 else []


def _mark(status: str) -> str:
    """``A``, ``M`` or ``D`` for what git says of a file in the index and of it in the working tree."""
    return "D" if "D" in status else "A" if status[0] == "A" else "M"


def _in_slug(files: Iterable[tuple[str, str]], holds: Holds) -> list[tuple[str, str]]:
    return [(status[:1], path) for status, path in files if holds(path)]


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
