"""Who applies, and the lock on all servers: all of them or none, taken in one fixed order."""

from __future__ import annotations

import getpass
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from infra.errors import DynoctlError
from infra.model.resource import Command
from infra.remote.locked import LockedShell, LockTaken
from infra.remote.parallel import each
from infra.remote.session import Session
from infra.remote.target import Target

AGAIN = 1.0
"""Seconds between two tries to take a lock."""

_STATUS = """\
lock=/run/dynoctl/$1.lock
{ exec 7<"$lock"; } 2>/dev/null || { echo free; exit 0; }
flock -n -s 7 && { echo free; exit 0; }
who=; [ -r "$lock.holder" ] && IFS= read -r who < "$lock.holder"
echo "held $who"
"""


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


def lock_all(
    sessions: Mapping[str, Session],
    app: str,
    identity: Identity,
    timeout: float,
    waits: Callable[[LockTaken], None],
    stop: threading.Event,
) -> dict[str, LockedShell]:
    """Lock the app on every server, in the order given; where somebody holds it, try again for ``timeout`` seconds, or
    until ``stop``. ``waits`` hears of the first time. Raises LockTaken or Unreachable, and then holds none."""
    deadline = time.monotonic() + timeout
    said = False
    while True:
        try:
            return _lock_once(sessions, app, identity)
        except LockTaken as taken:
            if time.monotonic() >= deadline:
                raise
            if not said:
                waits(taken)
            said = True
            if stop.wait(AGAIN):
                raise


def _lock_once(sessions: Mapping[str, Session], app: str, identity: Identity) -> dict[str, LockedShell]:
    """All or none. The shells open at the same time; only the locks themselves are taken one after the other."""
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


def holders(app: str, targets: Sequence[Target]) -> dict[str, str | DynoctlError | None]:
    """Who holds the app's lock on each server: what they wrote about themselves, None where it is free, or why the
    server did not say."""

    def ask(target: Target) -> str:
        session = Session(target)
        try:
            return session.execute(Command(("sh", "-c", _STATUS, "lock", app)))[1].strip()
        finally:
            session.close()

    found: dict[str, str | DynoctlError | None] = {}
    for target, answer in each(ask, targets).items():
        if isinstance(answer, DynoctlError):
            found[target.name] = answer
        else:
            word, _, who = answer.partition(" ")
            found[target.name] = None if word == "free" else who or "somebody who did not say who it is"
    return found
