"""A socket whose descriptor is not given back to the system while a thread uses it.

paramiko closes the socket of a connection while its own thread may be about to read from it or write to it. The next
connection of this process may get the same descriptor, and that thread would take its first bytes."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

AHEAD = 32 << 10
"""Bytes that are read at once, if they are there."""


class SteadySocket(socket.socket):
    """A socket that may be closed by any thread at any time: those that use it see its end, as with ``shutdown``, and
    the last of them closes it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._mutex = threading.Lock()
        self._users, self._ended = 0, False
        self._ahead = b""

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the descriptor during the block. Raises OSError if the socket is closed."""
        self._hold()
        try:
            yield
        finally:
            self._release()

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """What has arrived, at most ``size`` bytes. paramiko asks for a few bytes several times for each packet; what
        has arrived with them is kept for the next time. For one thread."""
        if not self._ahead:
            self._hold()
            try:
                self._ahead = super().recv(max(size, AHEAD), flags)
            finally:
                self._release()
        piece, self._ahead = self._ahead[:size], self._ahead[size:]
        return piece

    def send(self, data: Any, flags: int = 0, /) -> int:
        self._hold()
        try:
            return super().send(data, flags)
        finally:
            self._release()

    def shutdown(self, how: int, /) -> None:
        with self.in_use():
            super().shutdown(how)

    def _hold(self) -> None:
        with self._mutex:
            if self._ended:
                raise OSError(errno.EBADF, "the connection is closed")
            self._users += 1

    def _release(self) -> None:
        with self._mutex:
            self._users -= 1
            last = self._ended and not self._users
        if last:
            super().close()

    def close(self) -> None:
        with self._mutex:
            self._ended = True
            free = not self._users
            if not free:
                with suppress(OSError):
                    super().shutdown(socket.SHUT_RDWR)
        if free:
            super().close()
