"""The lock on all servers of an app: taken on all of them or none, in a fixed order; and the identity of its holder."""

from __future__ import annotations

import getpass
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from infra.errors import DynoctlError
from infra.fleet.ask import ask_servers, by_outcome
from infra.model import paths
from infra.model.clock import Clock, SystemClock
from infra.model.resource import Command
from infra.model.shell import LockTaken, Session, Shell
from infra.model.target import Target
from infra.remote.parallel import each

T = TypeVar("T")

RETRY = 1.0
"""Seconds between two attempts to take the lock."""

OTHERS = 300.0
"""Seconds to wait by default for the apply of another app: it is no reason to give up, and a rollout takes minutes."""

# In a subshell, because a redirection that fails ends the shell that runs ``exec``. Shells differ in its status.
STATUS = """\
lock=$1 who=
( exec 7<"$lock" && flock -n -s -E 75 7 ) 2>/dev/null
case $? in
  0) echo free ;;
  75) [ -r "$lock.holder" ] && IFS= read -r who < "$lock.holder"; echo "held $who" ;;
  *) if [ -e "$lock" ]; then echo unknown; else echo free; fi ;;
esac
"""


@dataclass(frozen=True)
class Identity:
    """The holder of a lock: user and host, since when (UTC, ISO 8601), its process id, and what it is doing, such as
    ``applying v2``. ``infra.model.lock_holder`` parses its text."""

    who: str
    when: str
    pid: int
    doing: str = ""

    @classmethod
    def current(cls, clock: Clock | None = None, doing: str = "") -> Identity:
        """The identity of this process."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):
            user = str(os.getuid())
        when = datetime.fromtimestamp((clock or SystemClock()).now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return cls(f"{user}@{socket.gethostname()}", when, os.getpid(), doing)

    def __str__(self) -> str:
        return f"{self.who} since {self.when} (pid {self.pid})" + (f", {self.doing}" if self.doing else "")


def lock_all(
    sessions: Mapping[str, Session],
    app: str,
    identity: Identity,
    *,
    timeout: float | None = None,
    waits: Callable[[LockTaken], None] = lambda _: None,
    stop: threading.Event | None = None,
    clock: Clock | None = None,
) -> dict[str, Shell]:
    """Lock the app on every server, in the given order.

    If the lock is held, this retries for ``timeout`` seconds or until ``stop`` is set, and calls ``waits`` once for
    each holder. None waits only for applies of other apps, for ``OTHERS`` seconds. Raises LockTaken or Unreachable;
    then no lock is held."""
    return _patiently(lambda: _lock_once(sessions, app, identity), timeout, waits, stop, clock)


def _patiently(
    lock: Callable[[], T],
    timeout: float | None,
    waits: Callable[[LockTaken], None],
    stop: threading.Event | None = None,
    clock: Clock | None = None,
) -> T:
    clock, stop = clock or SystemClock(), stop or threading.Event()
    began = clock.monotonic()
    reported = set()
    while True:
        try:
            return lock()
        except LockTaken as taken:
            patience = OTHERS if timeout is None and taken.app else timeout or 0
            if clock.monotonic() - began >= patience:
                raise
            if taken.what not in reported:
                waits(taken)
            reported.add(taken.what)
            if clock.wait(stop, RETRY):
                raise


def _lock_once(sessions: Mapping[str, Session], app: str, identity: Identity) -> dict[str, Shell]:
    """Lock all servers or none. The shells are opened in parallel; only the locks are taken one after the other."""
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


def lock_reachable(
    sessions: Mapping[str, Session],
    app: str,
    identity: Identity,
    *,
    timeout: float | None = None,
    waits: Callable[[LockTaken], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> tuple[dict[str, Shell], dict[str, DynoctlError]]:
    """Lock the app on every server that can be locked, in the given order; returns the errors of the others too. Waits
    as ``lock_all`` does. Raises LockTaken if one of the locks is held; then no lock is held."""
    return _patiently(lambda: _lock_reachable(sessions, app, identity), timeout, waits, stop)


def _lock_reachable(
    sessions: Mapping[str, Session], app: str, identity: Identity
) -> tuple[dict[str, Shell], dict[str, DynoctlError]]:
    shells, errors = by_outcome(each(lambda name: sessions[name].shell(app, str(identity)), sessions))
    try:
        for name in list(shells):
            try:
                shells[name].take()
            except LockTaken:
                raise
            except DynoctlError as error:
                errors[name] = error
                shells.pop(name).close()
    except BaseException:
        each(lambda name: shells[name].close(), shells)
        raise
    return shells, errors


def holders(app: str, targets: Sequence[Target]) -> dict[str, str | DynoctlError | None]:
    """The holder of the app's lock on each server as it identified itself, None if the lock is free, or why that is
    not known."""
    command = Command(("sh", "-c", STATUS, "lock", paths.lock(app)))
    answers, errors = ask_servers(targets, lambda session: holder(session.name, session.execute(command)[1].strip()))
    return {target.name: errors.get(target.name) or answers[target.name] for target in targets}


def holder(server: str, answer: str) -> str | DynoctlError | None:
    """The holder that a server's answer to ``STATUS`` names, None if the lock is free, or why that is not known."""
    state, _, who = answer.partition(" ")
    if state == "free":
        return None
    if state == "held":
        return who or "an unknown holder"
    return DynoctlError(f"{server}: cannot read the lock: {answer[-200:] or 'no output'}")
