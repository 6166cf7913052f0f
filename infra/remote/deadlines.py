"""What happens after some seconds unless it is cancelled before: one thread for all, as each ``threading.Timer`` is a
thread of its own, which costs as much as a key exchange."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable

_LONGEST = 3600.0
"""Seconds after which the thread looks again, at the latest."""


class Deadline:
    """A call that is due at some time."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action: Callable[[], None] | None = action
        self._mutex = threading.Lock()

    def cancel(self) -> bool:
        """Do not call any more, and keep nothing of what the call would use. Returns False if the call is made."""
        return self._take() is not None

    def expire(self) -> None:
        """Make the call, in a thread of its own: it may take long, and others are due meanwhile."""
        action = self._take()
        if action is None:
            return
        try:
            threading.Thread(target=action, daemon=True, name="deadline").start()
        except RuntimeError:  # the system allows no more threads
            action()

    def _take(self) -> Callable[[], None] | None:
        with self._mutex:
            action, self._action = self._action, None
        return action


class Deadlines:
    """The calls that are due, in order. The thread is started with the first one."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Deadline]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._running = False

    def after(self, seconds: float, action: Callable[[], None]) -> Deadline:
        """Call ``action`` after ``seconds``, unless the result is cancelled before."""
        made = Deadline(action)
        entry = (time.monotonic() + max(0.0, seconds), next(self._numbers), made)
        with self._changed:
            if not self._running:
                threading.Thread(target=self._run, daemon=True, name="deadlines").start()
                self._running = True
            heapq.heappush(self._due, entry)
            if self._due[0] is entry:
                self._changed.notify()
        return made

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due or (left := self._due[0][0] - time.monotonic()) > 0:
                    self._changed.wait(min(left, _LONGEST) if self._due else None)
                _, _, first = heapq.heappop(self._due)
            first.expire()


_all = Deadlines()

after = _all.after
"""As ``Deadlines.after``, for this process."""
