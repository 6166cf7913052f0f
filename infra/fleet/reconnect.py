"""Stay connected to a server: connect again after every loss, with growing pauses, until told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from infra.errors import DynoctlError
from infra.model.target import Target
from infra.remote.session import Session

BACK_OFF = (1, 2, 4, 8)
"""Seconds to wait before each retry; the last value repeats."""


def stay_connected(
    target: Target,
    work: Callable[[Session, Callable[[], None]], None],
    lost: Callable[[str], None],
    stop: threading.Event,
    session: Session | None = None,
) -> None:
    """Call ``work`` with a session until ``stop`` is set, with a new one after each loss.

    ``work`` gets the session and a function to call when the server answers, which resets the pauses; it ends by
    raising. ``lost`` gets the reason of each failure. ``session`` is used for the first call if it is open already.
    Every session is closed."""
    failures = 0

    def answers() -> None:
        nonlocal failures
        failures = 0

    while not stop.is_set():
        try:
            session = session or Session(target)
            work(session, answers)
        except (DynoctlError, OSError, EOFError) as error:
            lost(error.summary if isinstance(error, DynoctlError) else f"{target.name}: {error}")
        finally:
            if session is not None:
                with suppress(OSError, EOFError):
                    session.close()
            session = None
        stop.wait(BACK_OFF[min(failures, len(BACK_OFF) - 1)])
        failures += 1
