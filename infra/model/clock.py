"""The clock of the engine: the system's, or a simulated one in tests."""

from __future__ import annotations

import time
from threading import Event
from typing import Protocol

NOTICE = 0.5
"""Seconds within which the main thread notices a signal while it waits. One that comes when it is about to wait, or to
another thread, does not wake it: https://docs.python.org/3/library/signal.html#execution-of-python-signal-handlers
says that a handler runs at a later point of the main thread."""


class Clock(Protocol):
    """A source of time."""

    def now(self) -> float:
        """Seconds since 1970, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds of a monotonic clock, for durations."""
        ...

    def wait(self, stop: Event, seconds: float) -> bool:
        """Wait until ``stop`` is set, for at most ``seconds``. Returns whether it is set."""
        ...


class SystemClock:
    """The clock of the local machine."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, stop: Event, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not stop.wait(max(0.0, min(NOTICE, end - time.monotonic()))):
            if time.monotonic() >= end:
                return False
        return True
