"""The echo of the terminal, off while lines are redrawn: what is typed meanwhile would move them and leave copies.

Ctrl-C and Ctrl-Z work as ever, and what was typed stays in the terminal's queue for the next program."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import termios
import threading
from contextlib import suppress
from getpass import getpass
from types import FrameType
from typing import Any

from infra.remote import prompt

_ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end the process, unless something else handles them."""

_FLAGS = 3
"""The index of the local modes in what ``tcgetattr`` returns."""


class Echo:
    """Turns the echo of stdin's terminal off, and on again, from any thread. Without a terminal, or in the background,
    where a process must not change it, nothing is done."""

    def __init__(self) -> None:
        self._file = -1
        """The terminal whose echo is off; -1 if none is."""
        self._mutex = threading.RLock()  # a signal handler may interrupt its owner
        self._handled: list[int] = []

    def off(self) -> None:
        """Turn the echo off until ``on``, also if a signal stops or ends the process."""
        with self._mutex, suppress(OSError, ValueError, termios.error):
            file = sys.stdin.fileno()
            if self._file != -1 or not os.isatty(file) or not _in_foreground(file):
                return
            modes = termios.tcgetattr(file)
            if modes[_FLAGS] & termios.ECHO:
                self._handle()
                self._file = file
                _hidden.append(self)
                modes[_FLAGS] &= ~termios.ECHO
                termios.tcsetattr(file, termios.TCSANOW, modes)

    def on(self) -> None:
        """Turn the echo on again if it was turned off."""
        with self._mutex:
            self._restore()
            handled, self._handled = self._handled, []
            if threading.current_thread() is not threading.main_thread():
                self._handled = handled  # only the main thread can change handlers; they do no harm
                return
            for number in handled:
                if signal.getsignal(number) == self._signalled:
                    signal.signal(number, signal.SIG_DFL)

    def pause(self) -> None:
        """Turn the echo on for a question. The signals are handled on: one that asks for a passphrase turns it off
        itself."""
        with self._mutex:
            self._restore()

    def ask(self, words: str) -> str:
        """Ask for a secret, which is not shown. Whatever signal ends that, the echo is on again."""
        self._handle()
        try:
            return getpass(words)
        finally:
            self.on()

    def _restore(self) -> None:
        file, self._file = self._file, -1
        if self in _hidden:
            _hidden.remove(self)
        with suppress(OSError, termios.error):  # the terminal is gone
            if file != -1 and _in_foreground(file):
                modes = termios.tcgetattr(file)
                modes[_FLAGS] |= termios.ECHO
                termios.tcsetattr(file, termios.TCSANOW, modes)

    def _handle(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTSTP, *_ENDS):
            if signal.getsignal(number) in (signal.SIG_DFL, prompt.signalled):
                signal.signal(number, self._signalled)
                self._handled.append(number)

    def _signalled(self, number: int, _: FrameType | None) -> None:
        """Restore the echo, let the signal do what it does, and go on if that was a stop."""
        hidden = self._file != -1
        modes = None if hidden else _without_echo()
        self._restore()
        if modes is not None:
            _set([*modes[:_FLAGS], modes[_FLAGS] | termios.ECHO, *modes[_FLAGS + 1 :]])
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        signal.signal(number, self._signalled)
        if hidden:
            self.off()
        elif modes is not None:
            _set(modes)


_hidden: list[Echo] = []


def restore() -> None:
    """Turn the echo on again before the process exits without an end of what is drawn."""
    for echo in [*_hidden]:
        echo._restore()


def ask(words: str) -> str:
    """Ask for a secret on the terminal."""
    return Echo().ask(words)


def forget() -> None:
    """Drop what was typed so far: it cannot answer a question that was not asked yet, and was not seen."""
    with suppress(OSError, ValueError, termios.error):
        if os.isatty(sys.stdin.fileno()) and _in_foreground(sys.stdin.fileno()):
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


atexit.register(restore)  # an interrupt may come before there is an end


def _without_echo() -> list[Any] | None:
    """The modes of stdin's terminal, if a question for a secret has turned its echo off."""
    with suppress(OSError, ValueError, termios.error):
        file = sys.stdin.fileno()
        modes = termios.tcgetattr(file) if os.isatty(file) and _in_foreground(file) else None
        return None if modes is None or modes[_FLAGS] & termios.ECHO else modes
    return None


def _set(modes: list[Any]) -> None:
    with suppress(OSError, ValueError, termios.error):
        if _in_foreground(sys.stdin.fileno()):
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, modes)


def _in_foreground(file: int) -> bool:
    return os.tcgetpgrp(file) == os.getpgrp()
