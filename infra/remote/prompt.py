"""A question for a passphrase on the terminal. Any thread may ask it, and the end of the command ends it.

``getpass`` cannot be used for that: a thread in it waits for the user also after Ctrl-C, which only the main thread
notices, and if the process ends before it does, the echo of the terminal stays off."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

LOOK = 0.1
"""Seconds within which a question notices that it was ended."""

_ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end the process, unless something else handles them."""

_FLAGS = 3
"""The index of the local modes in what ``tcgetattr`` returns."""

_ended = False
"""Not an Event: a signal handler must not wait for a lock that the thread it interrupts holds."""

_mutex = threading.RLock()  # a signal handler may interrupt its owner
_open: dict[int, list[Any]] = {}
"""The modes to restore, by the descriptor of the terminal."""


def ask(words: str) -> str:
    """What is typed, without its echo. Raises EOFError if that ends without a line, OSError without a terminal, and
    UnicodeError."""
    terminal = _terminal()
    try:
        with restored():
            _hide(terminal)
            try:
                os.write(terminal, words.encode(errors="replace"))
                return _line(terminal).decode(sys.stdin.encoding or "utf-8")
            finally:
                _restore(terminal)
                os.write(terminal, b"\n")
    except termios.error as error:
        raise OSError(*error.args) from None
    finally:
        os.close(terminal)


def end() -> None:
    """End the question that is open, and all later ones: nobody is left to answer, as the command ends."""
    global _ended  # for the rest of this process
    _ended = True
    for terminal in list(_open):
        _restore(terminal)


atexit.register(end)


@contextmanager
def restored() -> Iterator[None]:
    """In the block, turn the echo on again also if a signal ends the process. Only the main thread can do that, for all
    threads that may ask meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = [number for number in _ENDS if signal.getsignal(number) is signal.SIG_DFL]
    for number in handled:
        signal.signal(number, signalled)
    try:
        yield
    finally:
        for number in handled:
            if signal.getsignal(number) is signalled:
                signal.signal(number, signal.SIG_DFL)


def signalled(number: int, _: object) -> None:
    """Restore the echo, and let the signal do what it does."""
    end()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _terminal() -> int:
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:  # the session has none, although stdin is a terminal
        return os.open(os.ttyname(sys.stdin.fileno()), os.O_RDWR | os.O_NOCTTY)


def _hide(terminal: int) -> None:
    modes = termios.tcgetattr(terminal)
    hidden = [*modes[:_FLAGS], modes[_FLAGS] & ~termios.ECHO, *modes[_FLAGS + 1 :]]
    with _mutex:
        if _ended:
            raise EOFError
        _open[terminal] = modes
        termios.tcsetattr(terminal, termios.TCSAFLUSH, hidden)


def _restore(terminal: int) -> None:
    with _mutex, suppress(termios.error):  # the terminal may be gone
        modes = _open.pop(terminal, None)
        if modes is not None:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, modes)


def _line(terminal: int) -> bytes:
    line = b""
    os.set_blocking(terminal, False)  # select() has a limit of files, which a large fleet passes
    try:
        while not line.endswith(b"\n"):
            try:
                piece = os.read(terminal, 4096)
            except BlockingIOError:
                time.sleep(LOOK)
                if _ended:
                    raise EOFError from None
                continue
            if not piece:
                raise EOFError
            line += piece
    finally:
        os.set_blocking(terminal, True)
    return line[:-1]
