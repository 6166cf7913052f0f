"""What is known of a dyno that is on a server, and the contract of who reads it there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from infra.model.provider import Fragment, Scope


@dataclass(frozen=True)
class Job:
    """What a schedule did and will do. ``ended`` and ``took`` are the seconds since its last run ended and those that
    it took, ``result`` a word for how it ended; None (and "") where it has not run since the server came up. ``next``
    are the seconds until it runs again; None: it does not."""

    when: str
    result: str = ""
    ended: int | None = None
    took: int | None = None
    next: int | None = None


@dataclass(frozen=True)
class Row:
    """One dyno as it runs. ``uptime`` in seconds and ``memory`` in bytes; None where it does not run. ``memory_max`` is
    what it may have, ``share`` its part of a core in thousandths, ``cpu_seconds`` what it used since it started,
    ``waiting`` how many connections its socket holds that it has not taken, ``release`` 0 where nobody knows it."""

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
    """What it is where it does not run all the time."""


class Reader(Protocol):
    """Reads one server's dynos in one fragment."""

    def observe(self, scope: Scope) -> Fragment: ...

    def parse(self, scope: Scope, server: str, output: str) -> Sequence[Row]: ...
