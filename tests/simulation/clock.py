"""A clock that only moves when the simulation says so: no test waits, and every run has the same times."""

from __future__ import annotations

from threading import Event

START = 1_800_000_000.0
"""Seconds since 1970 at which each simulation begins."""


class SimClock:
    """Simulated seconds; implements ``infra.model.clock.Clock``."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.skew = 0.0
        """Seconds by which the operator's clock is ahead."""

    def now(self) -> float:
        """Seconds since 1970 by the operator's clock."""
        return START + self.seconds + self.skew

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, stop: Event, seconds: float) -> bool:
        if not stop.is_set():
            self.seconds += seconds
        return stop.is_set()

    def advance(self, seconds: float) -> None:
        """Let time pass on every server."""
        self.seconds += seconds
