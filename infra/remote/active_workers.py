"""Whether the command that runs has workers, and how many it has by default. Light, as every command asks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from infra.remote import known_hosts

if TYPE_CHECKING:
    from infra.remote.workers import Workers

ENOUGH = 32
"""Servers up to which one process does as well."""

MOST = 8
"""Processes by default. Each takes memory of its own, and a connection to each gateway."""

_active: list[Workers] = []


def default(servers: int) -> int:
    """The number of processes for a command on so many servers; 0 if this one does it all."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST) if servers > ENOUGH and cores > 1 else 0


def active() -> Workers | None:
    """The workers of the command that runs, if it has some."""
    return _active[-1] if _active else None


@contextmanager
def using(workers: Workers) -> Iterator[Workers]:
    """Let these workers have all sessions that are opened in the block, and end them after it."""
    _active.append(workers)
    try:
        yield workers
    finally:
        _active.remove(workers)
        workers.close()


def skipped_lines() -> list[tuple[str, str]]:
    """The lines of known_hosts that could not be read, here or by a worker, and why."""
    workers = active()
    return list(dict.fromkeys([*known_hosts.skipped(), *(workers.skipped() if workers else ())]))
