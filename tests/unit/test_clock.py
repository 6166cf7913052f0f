"""The clock of the local machine."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from infra.model.clock import SystemClock


class Handled(Exception):
    """The handler ran."""


def _handle(*_: object) -> None:
    raise Handled


def test_a_signal_that_does_not_wake_the_main_thread_is_handled_while_it_waits() -> None:
    """It came when that was about to wait, or to another thread. The pause between two batches may be minutes."""
    before = signal.signal(signal.SIGUSR1, _handle)
    began = time.monotonic()
    other = threading.Timer(0.2, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1))
    other.start()
    try:
        with pytest.raises(Handled):
            SystemClock().wait(threading.Event(), 60)
        assert time.monotonic() - began < 30
    finally:
        other.join()
        signal.signal(signal.SIGUSR1, before)


def test_it_waits_until_it_is_told_to_stop() -> None:
    stop = threading.Event()
    assert not SystemClock().wait(stop, 0.01)
    other = threading.Timer(0.1, stop.set)
    other.start()
    began = time.monotonic()
    assert SystemClock().wait(stop, 60) and time.monotonic() - began < 30
    assert SystemClock().wait(stop, 60)
    other.join()
