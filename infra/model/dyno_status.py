"""The status of a dyno on a server, and the contract of its reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from infra.model.provider import Fragment, Scope

SERVING = ("up", "idle")
"""The states of dynos that answer requests: an idle one starts with the next."""

LEFT_IDLE = "left idle"
"""What a step says, and what was done, if it starts no dyno because that is idle."""

WELL = (*SERVING, "waiting", "running")
"""The states of healthy dynos and schedules."""

REMOVED = "removed"
"""The state of a dyno that was applied on a server and has no unit there any more."""

UNKNOWN = "unknown"
"""The state of what is on a server that does not answer."""


@dataclass(frozen=True)
class Job:
    """The last and the next run of a schedule. ``ended`` is the time since the last run ended and ``took`` its
    duration, in seconds; None if it has not run since the server booted. ``result`` is how it ended, or "". ``next`` is
    the time in seconds until the next run; None if there is none."""

    when: str
    result: str = ""
    ended: int | None = None
    took: int | None = None
    next: int | None = None


@dataclass(frozen=True)
class Row:
    """The status of one dyno. ``uptime`` is in seconds, ``memory`` and its limit ``memory_max`` in bytes, ``share`` is
    the CPU quota in thousandths of a core, ``cpu_seconds`` the CPU time since the start, and ``waiting`` the number of
    connections that its socket has not accepted; None if unknown or not running. ``release`` is 0 if unknown."""

    dyno: str
    server: str
    listen: str
    port: int
    state: str
    slug: str
    pid: int | None
    uptime: int | None
    memory: int | None
    restarts: int
    release: int = 0
    share: int = 0
    memory_max: int | None = None
    cpu_seconds: float | None = None
    waiting: int | None = None
    job: Job | None = None
    """The runs of a schedule; None for dynos that run permanently."""


def unknown(dyno: str, server: str, state: str = UNKNOWN) -> Row:
    """The status of a dyno of which nothing is known but its ``state``, such as one that may be on a server that does
    not answer."""
    return Row(
        dyno,
        server,
        "",
        0,
        state,
        "",
        pid=None,
        uptime=None,
        memory=None,
        restarts=0,
    )


class Reader(Protocol):
    """Reads the dynos of a server with one fragment."""

    def observe(self, scope: Scope) -> Fragment: ...

    def parse(self, scope: Scope, server: str, output: str) -> Sequence[Row]: ...
