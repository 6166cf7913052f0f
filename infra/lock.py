"""Who applies, and the lock on all servers: all of them or none, taken in one fixed order."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from infra.errors import DynoctlError
from infra.remote.locked import LockedShell
from infra.remote.parallel import each
from infra.remote.session import Session


@dataclass(frozen=True)
class Identity:
    """Who holds a lock: login and machine, since when (UTC, ISO 8601), and the process id there."""

    who: str
    when: str
    pid: int

    @classmethod
    def here(cls) -> Identity:
        """The identity of this process."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):
            user = str(os.getuid())
        when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return cls(f"{user}@{socket.gethostname()}", when, os.getpid())

    def __str__(self) -> str:
        return f"{self.who} since {self.when} (pid {self.pid})"


def lock_all(sessions: Mapping[str, Session], app: str, identity: Identity) -> dict[str, LockedShell]:
    """Lock the app on every server, in the order given. Raises LockTaken or Unreachable, and then holds none.

    The shells open at the same time; only the locks themselves are taken one after the other."""
    opened = each(lambda name: LockedShell(sessions[name], app, str(identity)), sessions)
    shells = {name: shell for name, shell in opened.items() if isinstance(shell, LockedShell)}
    try:
        for result in opened.values():
            if isinstance(result, DynoctlError):
                raise result
        for shell in shells.values():
            shell.take()
    except BaseException:
        each(lambda name: shells[name].close(), shells)
        raise
    return shells
