"""Kernel limits that many servers exceed: raised while a lab exists, and restored afterwards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from infra.lab import state

INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
ENOUGH = 8192
"""Every systemd and every root daemon uses inotify instances, and Linux allows root 128 of them by default: with about
20 servers, systemd in the next one would hang."""


def _before() -> Path:
    return state.STATE / ".inotify-before"


def lift(say: Callable[[str], None]) -> None:
    """Raise a limit that is too low, and save its old value."""
    try:
        now = int(INOTIFY.read_text())
        if now >= ENOUGH:
            return
        _before().write_text(f"{now}\n")
        INOTIFY.write_text(f"{ENOUGH}\n")
        say(f"Raised fs.inotify.max_user_instances from {now} to {ENOUGH} until the last lab is taken down.")
    except OSError as error:
        say(f"Cannot raise fs.inotify.max_user_instances, which limits labs to about 20 servers: {error}")


def restore() -> None:
    """Restore a raised limit, unless it was changed meanwhile."""
    with suppress(OSError, ValueError):
        before = int(_before().read_text())
        if int(INOTIFY.read_text()) == ENOUGH:
            INOTIFY.write_text(f"{before}\n")
        _before().unlink()
