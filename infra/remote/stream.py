"""A script on one server that runs for as long as somebody listens: its lines come as they are printed.

An idle connection that is cut without a word is seen by neither side, so each listens for the other: a beat goes up
every few seconds, and comes back. Where beats stay out, the server ends the script and this side raises."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress

from infra.errors import Unreachable
from infra.remote.channel import PIECE
from infra.remote.quote import PRELUDE, assign
from infra.remote.session import Output, Session

BEAT = 4
"""Seconds between two beats."""

SILENCE = 12
"""Seconds without a sign of life after which the connection counts as broken."""

PATIENCE = 30
"""Seconds without a beat after which the server ends the script."""


class Stream:
    """A script that runs as root on ``session``'s server. ``variables`` are its values; read it with ``lines``."""

    def __init__(self, session: Session, script: str, variables: Mapping[str, str]) -> None:
        self._session = session
        self._nonce = secrets.token_hex(12)
        self._closed = threading.Event()
        end = f"\nprintf '\\n%s end\\n' '{self._nonce}'\n"
        work = f"{assign(variables)}(\n{script}\n) 2>&1{end}"
        values = {"work": work, "ready": self._nonce, "patience": str(PATIENCE)}
        self._channel = session.channel()
        try:
            self._channel.sendall((PRELUDE + assign(values) + _KEEP).encode())
        except (OSError, EOFError) as error:
            raise session.lost(error) from None

    def lines(self) -> Iterator[bytes]:
        """What it prints, line by line, until it ends or is closed. Raises Unreachable where the connection breaks."""
        marker, end = f"{self._nonce}\n".encode(), f"{self._nonce} end".encode()
        listening, rest = False, b""
        for piece in self._pieces():
            rest += piece
            if not listening:  # what a login shell prints stands before it
                if marker not in rest:
                    continue
                rest, listening = rest.partition(marker)[2], True
                threading.Thread(target=self._beat, daemon=True, name=f"beat {self._session.name}").start()
            *whole, rest = rest.split(b"\n")
            for line in whole:
                if line == end:
                    return
                yield line
        if not self._closed.is_set():
            raise self._why()

    def close(self) -> None:
        """End it: the server sees its stdin end, and ends the script."""
        self._closed.set()
        with suppress(OSError, EOFError):
            self._channel.close()

    def _pieces(self) -> Iterator[bytes]:
        silent = 0
        while not self._closed.is_set():
            self._channel.settimeout(1)  # only waiting counts as silence, not what the reader does meanwhile
            try:
                piece = self._channel.recv(PIECE)
            except TimeoutError:
                silent = 0 if self._signs() else silent + 1
                if silent >= SILENCE:
                    raise self._session.lost(EOFError(f"no sign of life for {silent} s")) from None
                continue
            except (OSError, EOFError) as error:
                raise self._session.lost(error) from None
            if not piece:
                return
            silent = 0
            self._signs()
            yield piece

    def _signs(self) -> bytes:
        """The beats that came back, or what a shell said that would not start."""
        data = b""
        while self._channel.recv_stderr_ready() and (piece := self._channel.recv_stderr(PIECE)):
            data += piece
        return data

    def _why(self) -> Unreachable:
        text = self._signs().decode(errors="replace")
        status = self._channel.recv_exit_status() if self._channel.exit_status_ready() else -1
        if status >= 0:  # below that, the connection ended first
            try:
                self._session.refuse_without_root(Output(status, "", text))
            except Unreachable as error:
                return error
        return self._session.lost(EOFError(text.strip()[-300:] or "the server ended the session"))

    def _beat(self) -> None:
        while not self._closed.wait(BEAT):
            try:
                self._channel.sendall(b"\n")
            except (OSError, EOFError):
                return  # who reads the lines reports the broken connection


# One compound command: the shell has read all of it when it says that beats may follow on the same stdin. The script is
# a session of its own, so that all its processes end with it. Where the connection ends, so does the read.
_KEEP = """\
{
printf '%s\\n' "$ready"
setsid sh -c "$work" </dev/null &
job=$!
while timeout "$patience" sh -c 'read -r beat && printf . >&2'; do :; done
kill -s KILL -- "-$job" 2>/dev/null
exit 0
}
"""
