"""Between a program on a server and this process: what it prints comes here, what is typed or piped here goes there."""

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
"""Seconds after which a silent connection is looked after."""


def here() -> bool:
    """Whether a person sits at both ends."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def piped(attached: Attached) -> int:
    """Run it with our stdin, stdout and stderr; its exit status."""
    told: list[str] = []

    def hear(number: int, frame: FrameType | None) -> None:
        told.append(signal.Signals(number).name.removeprefix("SIG"))

    with _awake([signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT], hear) as wake:
        channel, early = attached.start()

        def tell() -> None:
            while told:
                attached.send(told.pop(0))

        return _move(attached, channel, early, wake, tell)


def terminal(attached: Attached, kind: str) -> int:
    """Run it in a terminal of the kind and size of ours, which is its alone until it ends; its exit status."""
    import termios
    import tty

    changed: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGWINCH:
            raise SystemExit(128 + number)  # by way of putting our terminal back
        changed.append(number)

    with _awake([signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP], hear) as wake:
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
def _awake(signals: list[signal.Signals], hear: Callable[[int, FrameType | None], None]) -> Iterator[socket.socket]:
    """A socket that has something to read once one of the signals came."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    old = {one: signal.signal(one, hear) for one in signals}
    wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        yield ours
    finally:
        signal.set_wakeup_fd(wakeup)
        for one, handler in old.items():
            signal.signal(one, handler)
        ours.close()
        theirs.close()


def _move(
    attached: Attached,
    channel: Channel,
    early: bytes,
    wake: socket.socket,
    tick: Callable[[], None],
) -> int:
    """Until it has ended and all that it said is here."""
    threading.Thread(target=_send, args=(channel,), daemon=True, name="stdin").start()
    _write(1, early)
    # recv must not wait, but what goes the other way must: the channel's timeout is both's, so it is only asked for
    # what it says to have.
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
        pass  # who reads the channel reports a broken connection


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
