"""What holds for all tests: they can send Ctrl-C to the programs that they start, wherever they run; and what many of
them share: dynoctl, as a process that starts fast."""

from __future__ import annotations

import gc
import signal

import pytest

from tests.command import Dynoctl, shared


def pytest_configure() -> None:
    # Started in the background by a shell, everything here would inherit that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collectstart() -> None:
    gc.disable()  # what is imported and collected stays: to look for garbage among it is two fifths of the time


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def dynoctl() -> Dynoctl:
    return shared()
