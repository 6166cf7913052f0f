"""The clock of the engine: the system's, or a simulated one in tests."""

from __future__ import annotations

import time
from threading import Event
from typing import Protocol


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
        return stop.wait(seconds)
