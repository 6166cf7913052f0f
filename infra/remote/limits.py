"""Limits on what a server may send, which is not trusted and would all be kept in memory: by us, or by paramiko, which
reads lines and packets of any length and takes more than the window that it announced."""

from __future__ import annotations

import math
import time
from collections import deque
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from infra.errors import DynoctlError

if TYPE_CHECKING:
    import paramiko

OUTPUT = 16 << 20
"""Bytes of one answer. A server with 400 dynos sends about 2 MiB when it is observed."""

IMAGE = 8 << 30
"""Bytes of a file that is fetched, or of the result and the log of a build."""

LINE = 1 << 20
"""Bytes of one line of a stream."""

STEP = 1 << 20
"""Bytes of the last lines of a step that are kept."""

WORDS = 64 << 10
"""Bytes that a login shell may print before it runs a script, and bytes of an error that are read."""

BANNER = 8 << 10
"""Bytes of a line that a server sends before SSH begins. RFC 4253 has 255."""

PACKET = 1 << 20
"""Bytes of an SSH packet. OpenSSH sends at most 256 KiB."""

WINDOW = 4 << 20
"""Bytes that a channel holds for a reader. paramiko announces a window of 2 MiB."""


AHEAD = 256 << 10
"""Bytes that a stream may send ahead of its reader. With more, the buffers of several servers take more memory than the
lines; with 20 ms of latency it allows 12 MiB a second."""


class OutputTooLarge(DynoctlError):
    """A server printed more than ``limit`` bytes for ``what``."""

    def __init__(self, server: str, what: str, limit: int) -> None:
        size = f"{limit >> 20} MiB" if limit >> 20 else f"{limit >> 10} KiB"
        super().__init__(
            f"{server}: {what}: the output is larger than {size}",
            f"log in to {server} and see what prints so much, such as a login script or a damaged file",
        )


def meter(channel: paramiko.Channel, server: str, what: str, limit: int | None) -> None:
    """Make ``recv`` and ``recv_stderr`` raise OutputTooLarge once they have returned more than ``limit`` bytes together
    (None: no limit), and end the connection if the server ignores the channel's window."""
    for pipe in (channel.in_buffer, channel.in_stderr_buffer):
        _bound(pipe)
    if limit is None:
        return
    total = 0

    def metered(receive: Any) -> Any:
        def read(size: int) -> bytes:
            nonlocal total
            piece: bytes = receive(size)
            total += len(piece)
            if total > limit:
                raise OutputTooLarge(server, what, limit)
            return piece

        return read

    for name in ("recv", "recv_stderr"):
        setattr(channel, name, metered(getattr(channel, name)))


def _bound(pipe: Any) -> None:
    """Let the buffer of a channel refuse what is beyond its window."""
    import paramiko

    feed = pipe.feed

    def bounded(data: Any) -> None:
        if len(pipe) + len(data) > WINDOW:
            raise paramiko.SSHException("the server ignores the window of a channel")
        feed(data)

    pipe.feed = bounded


@cache
def transport() -> type[paramiko.Transport]:
    """A transport that reads no line and no packet of any length that a server claims. (paramiko takes long to import,
    and this module is imported by every command.)"""
    import paramiko
    from paramiko.packet import Packetizer

    class Bounded(Packetizer):
        dropped = False
        """The server closed the connection before it sent its version."""
        greeting = ""
        """The last line before that."""
        _until = math.inf

        def readline(self, timeout: float) -> str:
            """A line before SSH begins, in which ``_read_timeout`` returns what has arrived of it."""
            self._early = 0
            line = str(super().readline(timeout))
            self.greeting = "" if line.startswith("SSH-") else line
            return line

        def _read_timeout(self, timeout: float) -> bytes:
            try:
                data: bytes = super()._read_timeout(timeout)  # type: ignore[misc]
            except (EOFError, ConnectionError):
                self.dropped = True
                raise
            self._early += len(data)
            if self._early > BANNER:
                raise paramiko.SSHException("a line before the SSH banner is too long")
            return data

        def read_all(self, n: int, check_rekey: bool = False) -> bytes:
            if n > PACKET:
                raise paramiko.SSHException("an SSH packet is too large")
            data: bytes = super().read_all(n, check_rekey)
            return data

        # paramiko has a thread for the time limit of each connection's first key exchange.

        def start_handshake(self, timeout: float) -> None:
            self._until = time.monotonic() + timeout

        def handshake_timed_out(self) -> bool:
            return time.monotonic() > self._until

        def complete_handshake(self) -> None:
            self._until = math.inf

        def close(self) -> None:
            """Close the socket. A tunnel whose gateway is gone raises what would end paramiko's thread with a
            traceback, before it has told those who wait for it."""
            with suppress(EOFError, OSError, paramiko.SSHException):
                super().close()

    class Transport(paramiko.Transport):
        def __init__(self, sock: Any, **options: Any) -> None:
            super().__init__(sock, packetizer_class=Bounded, **options)

    return Transport


class Tail:
    """The last lines of an output, at most about ``limit`` bytes of them."""

    def __init__(self, limit: int = STEP) -> None:
        self._limit, self._size, self._dropped = limit, 0, 0
        self._lines: deque[str] = deque()

    def add(self, line: str) -> None:
        """Add a line, or several; the oldest are dropped once there are too many, and the beginning of a long one."""
        if (over := len(line) - self._limit // 2) > 0:
            line = line[over:]
            self._dropped += over
        self._lines.append(line)
        self._size += _weight(line)
        while self._size > self._limit and len(self._lines) > 1:
            dropped = self._lines.popleft()
            self._size -= _weight(dropped)
            self._dropped += len(dropped) + 1

    def text(self) -> str:
        """The lines, after a note of how much was dropped."""
        note = [f"({self._dropped / (1 << 20):.1f} MiB before this are left out)"] if self._dropped else []
        return "\n".join([*note, *self._lines])

    def clear(self) -> None:
        self._lines.clear()
        self._size = self._dropped = 0


def _weight(line: str) -> int:
    return len(line) + 64  # an empty string takes about as much
