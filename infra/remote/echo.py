"""The echo of a terminal: off while lines are redrawn or a secret is typed, and on however that stops or ends.

Only the main thread can handle signals, so it does that for whatever other threads turn off meanwhile."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end the process, unless something else handles them."""

_FLAGS = 3
"""The index of the local modes in what ``tcgetattr`` returns."""

_mutex = threading.RLock()  # a signal handler may interrupt its owner
_hidden: dict[int, bool] = {}
"""The terminals whose echo is off, by descriptor, and whether it was on before."""

_ending = False
"""Whether the process ends: no echo is turned off any more."""


def hide(terminal: int, when: int = termios.TCSANOW) -> None:
    """Turn the echo off until ``show``; ``when`` is that of ``tcsetattr``. Raises termios.error, or EOFError if the
    process ends."""
    with _mutex:
        if _ending:
            raise EOFError
        _hidden[terminal] = echoes(terminal)  # first, as an interrupt may come at any time
        _set(terminal, False, when)


def show(terminal: int, when: int = termios.TCSANOW) -> None:
    """Turn the echo on again, if it was on before ``hide``."""
    with _mutex, suppress(termios.error):  # the terminal may be gone
        if _hidden.pop(terminal, False) and foreground(terminal):
            _set(terminal, True, when)


def end() -> None:
    """Turn the echo on, and never off again, as the process ends."""
    global _ending  # for the rest of this process
    with _mutex:
        _ending = True
        for terminal in list(_hidden):
            show(terminal)


atexit.register(end)  # an interrupt may come before there is an end


def echoes(terminal: int) -> bool:
    """Whether the echo is on. Raises termios.error."""
    return bool(termios.tcgetattr(terminal)[_FLAGS] & termios.ECHO)


def foreground(terminal: int) -> bool:
    """Whether this process may change the terminal: the system stops a job in the background that does."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # it does not control this session, so nothing is stopped
        return True


@contextmanager
def guarded() -> Iterator[None]:
    """In the block, turn the echo on also if a signal ends or stops the process, for all threads that turn it off
    meanwhile. Not for a block in another than the main thread."""
    handled = guard()
    try:
        yield
    finally:
        unguard(handled)


def guard() -> list[int]:
    """Handle the signals that nothing else handles, and return them; none in another than the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return []
    handled: list[int] = [number for number in (signal.SIGTSTP, *_ENDS) if signal.getsignal(number) is signal.SIG_DFL]
    for number in handled:
        signal.signal(number, _signalled)
    return handled


def unguard(handled: list[int]) -> None:
    """Let go of the signals that ``guard`` returned, in the main thread."""
    for number in handled:
        if signal.getsignal(number) is _signalled:
            signal.signal(number, signal.SIG_DFL)


class Echo:
    """Turns the echo of stdin's terminal off, and on again, from any thread. Without a terminal, or in the background,
    nothing is done. What was typed stays in the terminal's queue for the next program."""

    def __init__(self) -> None:
        self._terminal = -1
        """The terminal whose echo is off; -1 if none is."""
        self._handled: list[int] = []

    def off(self) -> None:
        """Turn the echo off until ``on``, also if a signal stops or ends the process."""
        with _mutex, suppress(OSError, ValueError, EOFError, termios.error):
            terminal = sys.stdin.fileno()
            if self._terminal != -1 or not os.isatty(terminal) or not foreground(terminal):
                return
            if echoes(terminal):
                self._handled += guard()
                self._terminal = terminal
                hide(terminal)

    def on(self) -> None:
        """Turn the echo on again if it was turned off."""
        with _mutex:
            self.pause()
            if threading.current_thread() is threading.main_thread():
                handled, self._handled = self._handled, []
                unguard(handled)

    def pause(self) -> None:
        """Turn the echo on for a question. The signals are handled on: one that asks for a passphrase turns it off
        itself."""
        with _mutex:
            terminal, self._terminal = self._terminal, -1
            show(terminal)


def forget() -> None:
    """Drop what was typed so far: it cannot answer a question that was not asked yet, and was not seen."""
    with suppress(OSError, ValueError, termios.error):
        if os.isatty(sys.stdin.fileno()) and foreground(sys.stdin.fileno()):
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


def _signalled(number: int, _: object) -> None:
    """Turn the echo on, let the signal do what it does, and turn the echo off again if that was a stop."""
    if number in _ENDS:
        end()
    _all(True)
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    signal.signal(number, _signalled)
    _all(False)


def _all(on: bool) -> None:
    with _mutex:
        for terminal, before in _hidden.items():
            with suppress(termios.error):
                if before and foreground(terminal):
                    _set(terminal, on)


def _set(terminal: int, on: bool, when: int = termios.TCSANOW) -> None:
    modes: list[Any] = termios.tcgetattr(terminal)
    modes[_FLAGS] = modes[_FLAGS] | termios.ECHO if on else modes[_FLAGS] & ~termios.ECHO
    termios.tcsetattr(terminal, when, modes)
