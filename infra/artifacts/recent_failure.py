"""A failure that is remembered for a while: what takes long to fail must not do so again for each of many servers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from infra.artifacts.source import StoreError

T = TypeVar("T")

HELD = 60
"""Seconds for which nothing is tried again. A store that is silent is asked for as long."""


class RecentFailure:
    """Not thread-safe: whoever waits for an attempt of another thread must find its result here."""

    def __init__(self) -> None:
        self._error = StoreError("")
        self._until = 0.0

    def attempt(self, work: Callable[[], T]) -> T:
        """The result of ``work``. Raises StoreError: the same one at once if it failed a moment ago."""
        if time.monotonic() < self._until:
            raise StoreError(self._error.summary, self._error.hint)
        try:
            return work()
        except StoreError as error:
            self._error, self._until = error, time.monotonic() + HELD
            raise
