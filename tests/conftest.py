"""What holds for all tests: they can send Ctrl-C to the programs that they start, wherever they run."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    # Started in the background by a shell, everything here would inherit that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
