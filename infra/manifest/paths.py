"""Paths in a manifest: relative to its directory, with ``~`` for the home directory."""

from __future__ import annotations

from pathlib import Path


def resolve_path(base: Path, text: str) -> Path:
    """The path that ``text`` names. ``~USER`` is left as it is if there is no such user: the file is then not found."""
    try:
        return base / Path(text).expanduser()
    except RuntimeError:
        return base / text


def is_file(path: Path) -> bool:
    """Whether ``path`` is an existing file. False for a name that no file can have, too."""
    try:
        return path.is_file()
    except OSError:
        return False
