"""A question for a secret on the terminal. Any thread may ask it, and the end of the command ends it.

``getpass`` cannot be used for that: a thread in it waits for the user also after Ctrl-C, which only the main thread
notices, and if the process ends before it does, the echo of the terminal stays off."""

from __future__ import annotations

import os
import sys
import termios
import time

from infra.remote import echo

LOOK = 0.1
"""Seconds within which a question notices that it was ended."""

_ended = False
"""Not an Event: a signal handler must not wait for a lock that the thread it interrupts holds."""


def ask(words: str) -> str:
    """What is typed, without its echo. Raises EOFError if that ends without a line, OSError without a terminal, and
    UnicodeError."""
    terminal = _terminal()
    try:
        with echo.guarded():
            try:
                echo.hide(terminal, termios.TCSAFLUSH)
                os.write(terminal, words.encode(errors="replace"))
                return _line(terminal).decode(sys.stdin.encoding or "utf-8")
            finally:
                echo.show(terminal, termios.TCSAFLUSH)
                os.write(terminal, b"\n")
    except termios.error as error:
        raise OSError(*error.args) from None
    finally:
        os.close(terminal)


def end() -> None:
    """End the question that is open, and all later ones: nobody is left to answer, as the command ends."""
    global _ended  # for the rest of this process
    _ended = True


def _terminal() -> int:
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:  # the session has none, although stdin is a terminal
        return os.open(os.ttyname(sys.stdin.fileno()), os.O_RDWR | os.O_NOCTTY)


def _line(terminal: int) -> bytes:
    line = b""
    os.set_blocking(terminal, False)  # select() has a limit of files, which a large fleet passes
    try:
        while not line.endswith(b"\n"):
            if _ended:
                raise EOFError
            try:
                piece = os.read(terminal, 4096)
            except BlockingIOError:
                time.sleep(LOOK)
                continue
            if not piece:
                raise EOFError
            line += piece
    finally:
        os.set_blocking(terminal, True)
    return line[:-1]
