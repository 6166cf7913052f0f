"""Calls that are due at a time: in order, unless cancelled, and none waits for another one."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest

from infra.remote.deadlines import Deadline, Deadlines


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


def test_what_is_called_cannot_be_cancelled_any_more() -> None:
    called: list[int] = []
    deadline = Deadline(lambda: called.append(1))
    deadline.expire()
    assert not deadline.cancel()
    deadline = Deadline(lambda: called.append(2))
    assert deadline.cancel()
    deadline.expire()
    assert 2 not in called


def test_a_system_without_threads_still_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines, done = Deadlines(), threading.Event()
    deadlines.after(3600, lambda: None)  # its own thread runs

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    deadlines.after(0.01, lambda: None)
    deadlines.after(0.05, done.set)
    assert done.wait(5)


def test_the_first_one_that_is_refused_a_thread_spoils_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines, done = Deadlines(), threading.Event()

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            deadlines.after(0, done.set)
    deadlines.after(1e11, lambda: None)
    deadlines.after(0, done.set)
    assert done.wait(5)
