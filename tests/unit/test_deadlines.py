"""Calls that are due at a time: in order, unless cancelled, and none waits for another one."""

from __future__ import annotations

import gc
import threading
import time
import weakref

from infra.remote.deadlines import Deadlines


def test_they_are_called_in_their_order_and_not_before() -> None:
    deadlines, called, all_ = Deadlines(), list[tuple[str, float]](), threading.Event()
    began = time.monotonic()

    def call(name: str) -> None:
        called.append((name, time.monotonic() - began))
        if len(called) == 3:
            all_.set()

    deadlines.after(0.3, lambda: call("last"))
    deadlines.after(0.1, lambda: call("first"))
    cancelled = deadlines.after(0.15, lambda: call("never"))
    deadlines.after(0.2, lambda: call("second"))
    cancelled.cancel()
    assert all_.wait(10)
    assert [name for name, _ in called] == ["first", "second", "last"]
    assert all(after >= due for (_, after), due in zip(called, (0.1, 0.2, 0.3), strict=True))


def test_one_that_takes_long_holds_up_no_other() -> None:
    deadlines, go, done = Deadlines(), threading.Event(), threading.Event()
    deadlines.after(0, lambda: go.wait(10) and None)
    deadlines.after(0.01, done.set)
    assert done.wait(5)
    go.set()


def test_nothing_is_kept_of_what_was_cancelled() -> None:
    class Channel:
        def close(self) -> None:
            raise AssertionError

    deadlines, channel = Deadlines(), Channel()
    gone = weakref.ref(channel)
    deadlines.after(3600, channel.close).cancel()
    del channel
    gc.collect()
    assert gone() is None
