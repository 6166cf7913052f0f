"""Files that a manifest names: they are regular, bounded, and for ``extends`` in the repository of the manifest."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from infra.manifest.paths import exists

ALLOWED = "DYNOCTL_EXTENDS_FROM"
"""Variable of the user: directories outside of the repository that ``extends`` may read from, separated by colons."""

SUFFIXES = (".yaml", ".yml")
"""The endings of a file that ``extends`` may name: a token file, .netrc or .env has none of them."""


def read_regular(path: Path, largest: int) -> bytes:
    """At most ``largest + 1`` bytes of a regular file. Raises OSError, also for a pipe or a device, without waiting."""
    # O_NONBLOCK: opening a pipe does not wait for a writer.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as stream:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return stream.read(largest + 1)


def texts_inside(directory: Path, names: Sequence[str], largest: int) -> dict[str, str]:
    """The texts of those files that exist and are at most ``largest`` bytes. No link out of the directory is followed:
    a pull request may hold one."""
    root, found = directory.resolve(), {}
    for name in names:
        with suppress(OSError, ValueError):
            if (directory / name).resolve().is_relative_to(root):
                data = read_regular(directory / name, largest)
                if len(data) <= largest:
                    found[name] = data.decode(errors="replace")
    return found


def repository(directory: Path) -> Path:
    """The nearest parent that holds ``.git``, or the directory itself without one.

    git is not asked: the config of a repository can name any directory as its top."""
    here = directory.resolve()
    return next((place for place in (here, *here.parents) if exists(place / ".git")), here)


def roots(directory: Path) -> tuple[Path, ...]:
    """The directories below which a manifest in ``directory`` may extend files."""
    named = [Path(entry) for entry in os.environ.get(ALLOWED, "").split(":") if entry]
    return (repository(directory), *(path.resolve() for path in named if path.is_absolute()))


def inside(path: Path, allowed: tuple[Path, ...]) -> bool:
    """Whether a path is below one of the directories after all links are followed. False for an impossible one."""
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError):
        return False
    return any(real.is_relative_to(root) for root in allowed)
