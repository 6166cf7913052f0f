"""Paths as a manifest says them: relative to its own directory, with ``~`` for a home."""

from __future__ import annotations

from pathlib import Path


def place(base: Path, text: str) -> Path:
    """The path that ``text`` names. A home that nobody has stays as it is written: there is no such file."""
    try:
        return base / Path(text).expanduser()
    except RuntimeError:
        return base / text


def is_file(path: Path) -> bool:
    """Whether there is such a file; False also for a name that no file can have."""
    try:
        return path.is_file()
    except OSError:
        return False
