"""Ctrl-C while servers are changed: the first one lets the current step finish, the second one exits at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from infra.cli.fail import INTERRUPTED
from infra.remote import echo

_EXITED = b"""
Exited. A step that was running may still finish on its server.
To see what runs now: dynoctl ps. To continue, run this again.
"""


@contextmanager
def interruptible(stop: threading.Event, tell: Callable[[], None], *, as_json: bool) -> Iterator[None]:
    """Let the first Ctrl-C (or SIGTERM) set ``stop`` and call ``tell``, and a second one exit immediately.

    A handler runs in the middle of anything, such as a write to the same stream: it only wakes a thread that does the
    rest, and writes past all buffers."""
    both = (signal.SIGINT, signal.SIGTERM)
    woken, wake = os.pipe()

    def watch() -> None:
        if os.read(woken, 1):
            stop.set()
            with suppress(OSError, ValueError):  # the terminal is gone
                tell()

    def first(*_: object) -> None:
        for number in both:
            signal.signal(number, leave)
        os.write(wake, b"!")

    def leave(*_: object) -> None:
        # An orderly exit would wait for threads that wait for servers. The servers notice that the sessions end.
        echo.end()
        with suppress(OSError):
            os.write(2, _EXITED)
        if as_json:
            from infra.views import stream_json

            stream_json.write_abandoned(INTERRUPTED)
        os._exit(INTERRUPTED)

    thread = threading.Thread(target=watch, daemon=True, name="interrupt")
    thread.start()
    before = {number: signal.signal(number, first) for number in both}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(wake)
        thread.join()
        os.close(woken)
