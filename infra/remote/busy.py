"""Try again if sshd drops a connection before it begins, as it does if too many log in at once (MaxStartups), or does
not listen for a moment, as while it restarts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from infra.errors import Unreachable
from infra.remote.dial import REFUSES

T = TypeVar("T")

FIRST, LONGEST = 0.2, 2.0
"""Seconds to wait before the second attempt, and at most between two: with jitter, as many may have been dropped."""


REFUSED = 1.0
"""Seconds for which a refused connection is repeated: sshd that restarts is back by then."""


class Dropped(Unreachable):
    """The server closed the connection before it sent its version. It is up, so ``silent`` is False."""

    def __init__(self, failure: str, greeting: str) -> None:
        said = f" ({greeting})" if greeting else ""
        super().__init__(
            f"{failure}: sshd closed the connection before it began{said}: too many logins at once, or this address is "
            "not admitted",
            "raise MaxStartups in sshd_config of the server, or work on fewer servers at once with --parallelism; also "
            "check PerSourceMaxStartups and PerSourcePenalties, and that sshd listens on this port",
        )


def patiently(attempt: Callable[[], T], seconds: float, refused: float = 0.0) -> T:
    """The result of ``attempt``, which is repeated for ``seconds`` while it raises Dropped, and for ``refused`` seconds
    while the connection is refused: then the host is up."""
    began = time.monotonic()
    pause = FIRST
    while True:
        try:
            return attempt()
        except Unreachable as error:
            wait = pause * random.uniform(0.5, 1.5)  # noqa: S311 -- jitter
            limit = refused if error.summary.endswith(REFUSES) else seconds if isinstance(error, Dropped) else 0.0
            if time.monotonic() - began + wait >= limit:
                raise
        time.sleep(wait)
        pause = min(2 * pause, LONGEST)
