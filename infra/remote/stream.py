"""A script on one server whose lines are streamed while it runs; it ends when the reader leaves.

Neither side notices when an idle connection is cut silently, so a heartbeat is sent every few seconds and echoed. If
heartbeats stop, the server ends the script and this side raises Unreachable."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

from infra.remote import limits
from infra.remote.channel import PIECE, broken
from infra.remote.quote import PRELUDE, assign
from infra.remote.session import Session

BEAT = 4
"""Seconds between two heartbeats."""

SILENCE = 12
"""Seconds without output or heartbeat after which the connection counts as lost."""

START = 60
"""Seconds within which the script must start. A sudo that cannot resolve the server's name takes 20."""

PATIENCE = 30
"""Seconds without a heartbeat after which the server ends the script."""


class Stream:
    """A script that runs as root on the server of ``session`` with ``variables`` set; ``lines`` reads its output."""

    def __init__(self, session: Session, script: str, variables: Mapping[str, str]) -> None:
        self._session = session
        self._nonce = secrets.token_hex(12)
        self._closed = threading.Event()
        self._beats = self._unasked = 0
        self._errors = b""
        self._listening = False
        end = f"\nprintf '\\n%s end\\n' '{self._nonce}'\n"
        work = f"{assign(variables)}(\n{script}\n) 2>&1{end}"
        values = {"work": work, "ready": self._nonce, "patience": str(PATIENCE)}
        self._channel = session.channel("a stream", None, limits.AHEAD)  # it has no end, but its lines have
        try:
            self._channel.sendall((PRELUDE + assign(values) + _KEEP).encode())
        except broken() as error:
            raise session.ended(self._channel, error=error) from None

    def lines(self, patience: float | None = None, pause: float | None = None) -> Iterator[bytes]:
        """The script's output by line, until it ends or is closed. Of a line of more than ``limits.LINE`` bytes, only
        the beginning is returned. An empty line is also returned once no line came for ``pause`` seconds. Raises
        Unreachable if the connection is lost, or if no line came for ``patience`` seconds (None: that is no error)."""
        marker, end = f"{self._nonce}\n".encode(), f"{self._nonce} end".encode()
        rest, cut, paused = b"", False, False
        began = time.monotonic()
        for piece in self._pieces():
            silent = time.monotonic() - began
            if patience is not None and silent > patience:
                raise self._session.lost(EOFError(f"no output for {patience:.0f} s"))
            if pause is not None and silent > pause and self._listening and not paused:
                paused = True
                yield b""
            rest += piece
            if not self._listening:  # a login shell may print something first
                if marker not in rest:
                    if len(rest) > limits.WORDS:
                        raise limits.OutputTooLarge(self._session.name, "the login shell", limits.WORDS)
                    continue
                rest, self._listening = rest.partition(marker)[2], True
                threading.Thread(target=self._beat, daemon=True, name=f"beat {self._session.name}").start()
            *whole, rest = rest.split(b"\n")
            for line in whole:
                if line == end:
                    return
                if not cut:
                    yield line
                cut = paused = False
                began = time.monotonic()
            if len(rest) > limits.LINE:
                if not cut:
                    yield rest[: limits.LINE]
                rest, cut = b"", True
        if not self._closed.is_set():
            self._heartbeats()
            if self._listening:
                raise self._session.closed(self._errors)
            raise self._session.ended(self._channel, self._errors)

    def close(self) -> None:
        """End the script: the server ends it when its stdin closes."""
        self._closed.set()
        with suppress(*broken()):
            self._channel.close()

    def _pieces(self) -> Iterator[bytes]:
        silent = 0
        while not self._closed.is_set():
            self._channel.settimeout(1)  # only waiting counts as silence, not the time the reader takes
            try:
                piece = self._channel.recv(PIECE)
            except TimeoutError:
                silent = 0 if self._heartbeats() else silent + 1
                if silent >= (SILENCE if self._listening else START):
                    raise self._session.lost(EOFError(f"no heartbeat for {silent} s")) from None
                yield b""
                continue
            except broken() as error:
                raise self._session.lost(error) from None
            if not piece:
                return
            silent = 0
            self._heartbeats()
            yield piece

    def _heartbeats(self) -> bytes:
        """What arrived on stderr: echoed heartbeats, or the error of a shell that did not start, which is kept."""
        data = b""
        try:
            while self._channel.recv_stderr_ready() and len(data) < limits.WORDS:
                data += self._channel.recv_stderr(PIECE)
        except broken() as error:
            raise self._session.lost(error) from None
        self._unasked += len(data)
        self._errors = (self._errors + data.lstrip(b"."))[-limits.WORDS :]
        if self._unasked > self._beats + limits.WORDS:
            raise limits.OutputTooLarge(self._session.name, "errors of a script", limits.WORDS)
        return data

    def _beat(self) -> None:
        while not self._closed.wait(BEAT):
            self._beats += 1
            try:
                self._channel.sendall(b"\n")
            except broken():
                return  # the reader of the lines reports the lost connection


# One compound command, so that the shell has read all of it before it prints the marker and heartbeats follow on the
# same stdin. The script runs in its own session, so that all its processes can be killed together. When the connection
# ends, the read fails and the script is killed.
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
