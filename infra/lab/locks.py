"""Locks between processes that change labs: one per lab, and one for the list of labs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.lab import state

Say = Callable[[str], None]


@contextmanager
def lab(name: str, say: Say = lambda _: None) -> Iterator[None]:
    """Lock the lab: only one process at a time changes it."""
    state.STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = state.STATE / f".{name}.lock"
    while True:
        with held(path, say) as lock:
            # ``down`` may have removed the file during the wait. The lock is then on a deleted file: try again.
            try:
                current = os.path.samestat(os.fstat(lock), path.stat())
            except FileNotFoundError:
                current = False
            if current:
                yield
                return


@contextmanager
def held(path: Path, say: Say) -> Iterator[int]:
    """A lock on a file or directory. The kernel releases it when the process ends."""
    lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if path.is_dir() else os.O_CREAT), 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another dynoctl process that is changing this lab ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)
