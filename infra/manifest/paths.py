"""Paths in a manifest: relative to its directory, with ``~`` for the home directory."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def resolve_path(base: Path, text: str) -> Path:
    """The path that ``text`` names. ``~USER`` is left as it is if there is no such user: the file is then not found."""
    try:
        return base / Path(text).expanduser()
    except RuntimeError:
        return base / text


def is_file(path: Path) -> bool:
    """Whether ``path`` is an existing file. False for a name that no file can have, and behind a closed directory."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises for a name that is too long


def is_directory(path: Path) -> bool:
    """Whether ``path`` is an existing directory; False as for ``is_file``."""
    return os.path.isdir(path)  # noqa: PTH112


def exists(path: Path) -> bool:
    """Whether ``path`` exists; False as for ``is_file``."""
    return os.path.exists(path)  # noqa: PTH110


def is_link(path: Path) -> bool:
    """Whether ``path`` is a symbolic link; False as for ``is_file``."""
    return os.path.islink(path)  # noqa: PTH114


def resolved(path: Path) -> Path:
    """``path`` without symbolic links, as far as they can be followed. A loop of links is not an error."""
    return Path(os.path.realpath(path))


def closed_above(path: Path) -> Path | None:
    """The directory that this user may not search, and behind which ``path`` may exist; None if there is none."""
    try:
        os.stat(path)  # noqa: PTH116
    except PermissionError:
        path = path.absolute()
        if ".." not in path.parts:  # closed/.. is behind closed, and without .. it is not
            with suppress(OSError):  # of a link that may not be read, such as /proc/1/root
                path = resolved(path)
        own = os.access in os.supports_effective_ids
        closed = (one for one in reversed(path.parents) if not os.access(one, os.X_OK, effective_ids=own))
        return next(closed, path.parent)
    except (OSError, ValueError):
        return None
    return None
