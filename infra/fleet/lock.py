"""Who applies, and the lock on all servers: all of them or none, taken in one fixed order."""

from __future__ import annotations

import getpass
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from infra.errors import DynoctlError
from infra.fleet.ask import ask_servers
from infra.model.clock import Clock, SystemClock
from infra.model.resource import Command
from infra.model.shell import LockTaken, Session, Shell
from infra.model.target import Target
from infra.remote.parallel import each

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
    def here(cls, clock: Clock | None = None) -> Identity:
        """The identity of this process."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):
            user = str(os.getuid())
        when = datetime.fromtimestamp((clock or SystemClock()).now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return cls(f"{user}@{socket.gethostname()}", when, os.getpid())

    def __str__(self) -> str:
        return f"{self.who} since {self.when} (pid {self.pid})"


def lock_all(
    sessions: Mapping[str, Session],
    app: str,
    identity: Identity,
    *,
    timeout: float = 0,
    waits: Callable[[LockTaken], None] = lambda _: None,
    stop: threading.Event | None = None,
    clock: Clock | None = None,
) -> dict[str, Shell]:
    """Lock the app on every server, in the order given; where somebody holds it, try again for ``timeout`` seconds, or
    until ``stop``. ``waits`` hears of the first time. Raises LockTaken or Unreachable, and then holds none."""
    clock, stop = clock or SystemClock(), stop or threading.Event()
    deadline = clock.monotonic() + timeout
    said = False
    while True:
        try:
            return _lock_once(sessions, app, identity)
        except LockTaken as taken:
            if clock.monotonic() >= deadline:
                raise
            if not said:
                waits(taken)
            said = True
            if clock.wait(stop, AGAIN):
                raise


def _lock_once(sessions: Mapping[str, Session], app: str, identity: Identity) -> dict[str, Shell]:
    """All or none. The shells open at the same time; only the locks themselves are taken one after the other."""
    opened = each(lambda name: sessions[name].shell(app, str(identity)), sessions)
    shells = {name: shell for name, shell in opened.items() if not isinstance(shell, DynoctlError)}
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
    command = Command(("sh", "-c", _STATUS, "lock", app))
    answers, errors = ask_servers(targets, lambda session: session.execute(command)[1].strip())
    found: dict[str, str | DynoctlError | None] = {}
    for target in targets:
        if target.name in errors:
            found[target.name] = errors[target.name]
        else:
            word, _, who = answers[target.name].partition(" ")
            found[target.name] = None if word == "free" else who or "somebody who did not say who it is"
    return found
