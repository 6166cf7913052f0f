"""What everything that uses an SSH channel shares: the size of a piece, and waits with a limit where paramiko's have
none."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from infra.remote import deadlines, limits

if TYPE_CHECKING:
    import paramiko

PIECE = 32 * 1024
"""Bytes handed to the channel at once. It copies the remainder on every send, so larger pieces are slow."""

KEEPALIVE = 15
"""Seconds between SSH keep-alive packets on an idle connection."""

LOOK = 5
"""Seconds after which the thread of an idle connection looks whether a keep-alive is due. paramiko looks ten times a
second, which takes more CPU time than all the rest if some hundred connections are open."""

SILENCE = 60
"""Seconds after which a channel or a connection that does not move counts as lost."""


def broken(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """What any call on a channel raises if the connection is lost, and ``more``. Calls that send wait for a key
    exchange that is under way, and then fail with an exception of paramiko's own."""
    import paramiko

    return (OSError, EOFError, paramiko.SSHException, *more)


def close(channel: paramiko.Channel) -> None:
    """Close a channel. A connection that is gone needs no word of it, and how it ended was told before."""
    with suppress(*broken()):
        channel.close()


@contextmanager
def within(channel: paramiko.Channel, seconds: float) -> Iterator[None]:
    """Close the channel if the block takes longer than ``seconds``, which ends whatever waits for it. Raises
    TimeoutError then."""
    deadline = deadlines.after(seconds, lambda: close(channel))
    try:
        yield
    except Exception:
        if deadline.cancel():
            raise
    except BaseException:
        deadline.cancel()
        raise
    else:
        if deadline.cancel():
            return
    raise TimeoutError(f"timed out after {seconds:.0f} s")


def exit_status(channel: paramiko.Channel, seconds: float) -> int:
    """The exit status of the channel's program; -1 if it has none. Raises TimeoutError after ``seconds``."""
    with within(channel, seconds):
        return int(channel.recv_exit_status())
    raise TimeoutError(f"timed out after {seconds:.0f} s")


def read_to(channel: paramiko.Channel, marker: bytes, seconds: float) -> tuple[bytes, bytes | None]:
    """Read up to ``marker``. Returns what came before it and what was read past it; None if the channel ended without
    it. Raises TimeoutError after ``seconds``."""
    data, deadline = b"", time.monotonic() + seconds
    while marker not in data:
        channel.settimeout(max(0.0, deadline - time.monotonic()))
        try:
            piece = channel.recv(PIECE)
        except TimeoutError:
            raise TimeoutError(f"timed out after {seconds:.0f} s") from None
        if not piece:
            return data, None
        data += piece
        if len(data) > limits.WORDS + PIECE:
            raise EOFError("the login shell prints too much")
    before, _, after = data.partition(marker)
    return before, after


def notice_silence(transport: paramiko.Transport) -> None:
    """Let an open connection rest, and end it once nothing that was sent has been acknowledged for ``SILENCE`` seconds.
    Otherwise a write to a network that was cut would wait until the kernel gives up, after 15 minutes or more."""
    transport.set_keepalive(KEEPALIVE)
    transport.sock.settimeout(LOOK)
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux; others have only the limits of the channels
    connection = transport.sock
    tcp = (socket.AF_INET, socket.AF_INET6)
    if option is not None and isinstance(connection, socket.socket) and connection.family in tcp:
        connection.setsockopt(socket.IPPROTO_TCP, option, SILENCE * 1000)


def reason(error: BaseException) -> str:
    """Why a connection was lost, in words: paramiko's timeouts have none, and it says of a socket what it knows of a
    channel."""
    try:
        text = str(error)
    except Exception:  # some of paramiko's own cannot be printed
        text = ""
    if text == "Socket is closed":
        return "the connection was closed"
    return text or ("timed out" if isinstance(error, TimeoutError) else type(error).__name__)
