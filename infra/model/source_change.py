"""What changed in the source between two releases; values only."""

from __future__ import annotations

from dataclasses import dataclass

MOST = 20
"""Commits and files that are named."""


@dataclass(frozen=True)
class SourceChange:
    """``commits`` are subjects, newest first; ``files`` are pairs of ``A``, ``M`` or ``D`` and a path in the source, of
    what was committed since; ``uncommitted`` are those that differ from the newest commit. ``untracked`` are paths of
    new files and, with a slash behind them, of directories, that git knows nothing of. At most ``MOST`` of each;
    ``more_commits``, ``more_files``, ``more_uncommitted`` and ``more_untracked`` are the others. ``released_dirty``:
    files that were released differed from their commit, and which is not known. ``dirty``: any of these, so ``files``
    are not all changes."""

    commits: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    more_commits: int = 0
    more_files: int = 0
    dirty: bool = False
    uncommitted: tuple[tuple[str, str], ...] = ()
    more_uncommitted: int = 0
    released_dirty: bool = False
    untracked: tuple[str, ...] = ()
    more_untracked: int = 0


@dataclass(frozen=True)
class FileDiff:
    """``status`` is ``A``, ``M`` or ``D``; ``text`` a unified diff without the names of the files, ``note`` why there
    is none, such as ``binary``."""

    status: str
    path: str
    text: str = ""
    note: str = ""


@dataclass(frozen=True)
class SourceDiff:
    """The files that differ between the release that runs and the source, sorted; ``more`` are not named. ``origin`` is
    where the old ones are read from, such as ``commit 1f3c8a7`` or ``grid-1``. ``reason`` is why there is no diff."""

    files: tuple[FileDiff, ...] = ()
    more: int = 0
    origin: str = ""
    reason: str = ""
