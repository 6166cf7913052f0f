"""Limits of this machine that many servers at once run into: raised while there is a lab, and put back after."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from infra.lab import state

INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
ENOUGH = 8192
"""Every systemd and every daemon of root's takes some, and Linux allows root 128 of them on the whole machine:
with about 20 servers, systemd inside the next one would wait for ever."""


def _before() -> Path:
    return state.STATE / ".inotify-before"


def lift(say: Callable[[str], None]) -> None:
    """Raise what is too low, and write down what it was."""
    try:
        now = int(INOTIFY.read_text())
        if now >= ENOUGH:
            return
        _before().write_text(f"{now}\n")
        INOTIFY.write_text(f"{ENOUGH}\n")
        say(f"Raised fs.inotify.max_user_instances from {now} to {ENOUGH}, until the last lab is taken down.")
    except OSError as error:
        say(f"fs.inotify.max_user_instances cannot be raised, so about 20 servers are the most: {error}")


def restore() -> None:
    """Put back what was raised, where nobody has changed it since."""
    with suppress(OSError, ValueError):
        before = int(_before().read_text())
        if int(INOTIFY.read_text()) == ENOUGH:
            INOTIFY.write_text(f"{before}\n")
        _before().unlink()
