"""Ctrl-C during an apply or a restart: the first one lets the current step finish."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from infra.cli.fail import INTERRUPTED, note

if TYPE_CHECKING:
    from infra.engine.apply import Applier
    from infra.engine.restart import Restarter


@contextmanager
def interruptible(applier: Applier | Restarter, as_json: bool) -> Iterator[None]:
    """Let the first Ctrl-C (or SIGTERM) finish the current step, and a second one exit immediately."""
    both = (signal.SIGINT, signal.SIGTERM)

    def stop(*_: object) -> None:
        note("\nInterrupted: finishing the current step. Press Ctrl-C again to exit immediately.")
        applier.stop.set()
        for number in both:
            signal.signal(number, leave)

    def leave(*_: object) -> None:
        # An orderly exit would wait for threads that wait for servers. The servers notice that the sessions end.
        note("\nExited. The current step may still finish on its server; run this again to continue.")
        if as_json:
            from infra.views import stream_json

            stream_json.write_abandoned(INTERRUPTED)
        os._exit(INTERRUPTED)

    before = {number: signal.signal(number, stop) for number in both}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
