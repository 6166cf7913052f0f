"""Copies between a program on a server and this process: stdin to the program, its stdout and stderr back."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.remote.attached import Attached, Channel

PIECE = 32 * 1024

TICK = 1.0
"""Seconds between checks of a silent connection."""


def interactive() -> bool:
    """Whether stdin and stdout are both terminals."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def piped(attached: Attached) -> int:
    """Run the program with our stdin, stdout and stderr; return its exit status."""
    pending: list[str] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        pending.append(signal.Signals(number).name.removeprefix("SIG"))

    with _awake([signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT], on_signal) as wake:
        channel, early = attached.start()

        def forward_signals() -> None:
            while pending:
                attached.send(pending.pop(0))

        return _move(attached, channel, early, wake, forward_signals)


def terminal(attached: Attached, kind: str) -> int:
    """Run the program in a terminal of type ``kind`` and our size; return its exit status.

    Our terminal is in raw mode until the program ends."""
    import termios
    import tty

    changed: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGWINCH:
            raise SystemExit(128 + number)  # an exception, so that the terminal is restored
        changed.append(number)

    with _awake([signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP], on_signal) as wake:
        size = os.get_terminal_size(sys.stdin.fileno())
        channel, early = attached.start((kind, size.columns, size.lines))

        def resize() -> None:
            if changed:
                changed.clear()
                size = os.get_terminal_size(sys.stdin.fileno())
                channel.resize_pty(size.columns, size.lines)

        before = termios.tcgetattr(sys.stdin)
        try:
            tty.setraw(sys.stdin, termios.TCSADRAIN)
            resize()
            return _move(attached, channel, early, wake, resize)
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextmanager
def _awake(signals: list[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[socket.socket]:
    """A socket that becomes readable when one of the signals arrives."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    previous = {number: signal.signal(number, handler) for number in signals}
    wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        yield ours
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, previous_handler in previous.items():
            signal.signal(number, previous_handler)
        ours.close()
        theirs.close()


def _move(
    attached: Attached,
    channel: Channel,
    early: bytes,
    wake: socket.socket,
    tick: Callable[[], None],
) -> int:
    """Copy until the program has ended and all of its output has arrived; return its exit status."""
    threading.Thread(target=_send, args=(channel,), daemon=True, name="stdin").start()
    _write(1, early)
    # The channel has one timeout for both directions. Sending must block, so receiving is only done when data is ready.
    channel.settimeout(None)
    while True:
        tick()
        idle = True
        if channel.recv_ready():
            _write(1, channel.recv(PIECE))
            idle = False
        if channel.recv_stderr_ready():
            _write(2, channel.recv_stderr(PIECE))
            idle = False
        if not idle:
            continue
        if channel.eof_received or channel.closed:
            if not channel.recv_ready() and not channel.recv_stderr_ready():
                return attached.status()
            continue
        ready, _, _ = select.select([channel.fileno(), wake.fileno()], [], [], TICK)
        if wake.fileno() in ready:
            wake.recv(PIECE)
        attached.check()


def _send(channel: Channel) -> None:
    try:
        while data := os.read(0, PIECE):
            channel.sendall(data)
        channel.shutdown_write()
    except (OSError, EOFError):
        pass  # the reader of the channel reports the lost connection


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
