"""A one-off program on one server, tied to this connection: it ends when the connection ends, however that happens.

Two execs share one connection. The guard reads the program's script and variables from its stdin, writes them, and
waits for a heartbeat every few seconds; if the heartbeat stops, it stops the program's unit. When it ends it removes
everything it wrote. The second exec belongs to the program: its stdin, stdout and stderr, or a terminal."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from infra.errors import DynoctlError, Unreachable
from infra.remote import limits
from infra.remote.channel import PIECE, broken, close, exit_status, read_to
from infra.remote.quote import PRELUDE, assign, program
from infra.remote.session import Output, Session

if TYPE_CHECKING:
    from paramiko import Channel as Channel

BEAT = 4
"""Seconds between two heartbeats."""

PATIENCE = 30
"""Seconds without a heartbeat after which the server ends the program."""

SILENCE = 30
"""Seconds without an echo of a heartbeat after which this side treats the connection as lost."""

START = 30
"""Seconds within which the server must start the program."""


_END = "the server ends the program on its own"


class Attached:
    """The unit ``name`` on a server, started by ``argv``. ``environment`` is the text of its env file."""

    def __init__(self, session: Session, name: str, argv: Sequence[str], environment: str) -> None:
        self._session = session
        self._name = name
        self._mark = secrets.token_hex(12)
        self._stop = threading.Event()
        self._sending = threading.Lock()
        self._heard = time.monotonic()
        self._channel: Channel | None = None
        self._guard = _prepare(session, name, program(argv, self._mark), environment, _GUARD)
        threading.Thread(target=self._beat, daemon=True, name=f"beat {session.name}").start()

    def start(self, terminal: tuple[str, int, int] | None = None) -> tuple[Channel, bytes]:
        """Start the program; return its channel and the output read so far.

        ``terminal`` is the type (``TERM``), columns and rows of the terminal to run it in."""
        self._channel = channel = self._session.program(self._name, terminal)
        data, mark = b"", self._mark.encode()
        deadline = time.monotonic() + START
        while mark not in data:  # a login shell may print something first
            channel.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                piece = channel.recv(PIECE)
            except TimeoutError:
                raise Unreachable(f"{self._session.name}: the program did not start within {START} s") from None
            except broken() as error:
                raise self._session.lost(error) from None
            if not piece:
                raise self._refused(data)
            data += piece
            if len(data) > limits.WORDS + PIECE:
                raise limits.OutputTooLarge(self._session.name, "the login shell", limits.WORDS)
        return channel, data.partition(mark)[2]

    def _refused(self, data: bytes) -> DynoctlError:
        channel = self._channel
        assert channel is not None  # noqa: S101  # for mypy
        said = data
        with suppress(*broken()):
            while piece := channel.recv_stderr(PIECE):
                said = (said + piece)[-limits.WORDS :]
        text = said.decode(errors="replace").strip()
        if "sudo" in text:
            return Unreachable(
                f"{self._session.name}: user {self._session.user} may not start the program: {text.splitlines()[-1]}",
                "the sudo rule of this login is too narrow; print the one it needs with: dynoctl sudoers",
            )
        return self._session.closed(said)

    def send(self, word: str) -> None:
        """Send a word to the guard: a signal for the program, such as ``INT``, or ``end`` to end it."""
        with suppress(*broken()), self._sending:
            self._guard.sendall(f"{word}\n".encode())

    def check(self) -> None:
        """Raise Unreachable if the server has been silent for too long."""
        if time.monotonic() - self._heard > SILENCE:
            raise self._session.lost(EOFError(f"no heartbeat for {SILENCE} s; {_END}"))

    def status(self) -> int:
        """The program's exit status, once it has ended. Raises Unreachable if the connection was lost first."""
        assert self._channel is not None  # noqa: S101  # for mypy
        deadline = time.monotonic() + START
        while not self._channel.exit_status_ready() and time.monotonic() < deadline:
            if not self._channel.get_transport().is_active():
                break
            time.sleep(0.01)
        status = self._channel.recv_exit_status() if self._channel.exit_status_ready() else -1
        if status < 0:
            raise self._session.lost(EOFError(f"it closed before the program ended; {_END}"))
        return int(status)

    def close(self, patience: float = 15) -> None:
        """End the program if it still runs, and wait up to ``patience`` seconds until everything of it is removed."""
        self._stop.set()
        self.send("end")
        deadline = time.monotonic() + patience
        with suppress(*broken(limits.OutputTooLarge)):
            self._guard.settimeout(patience)
            while self._guard.recv(PIECE) and time.monotonic() < deadline:
                pass
        with suppress(*broken()):
            self._guard.close()

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            self.send(".")
            try:
                self._guard.settimeout(0)
                while piece := self._guard.recv(PIECE):
                    self._heard = time.monotonic() if piece else self._heard
            except TimeoutError:
                continue
            except broken(limits.OutputTooLarge):
                return


def detach(session: Session, name: str, argv: Sequence[str], environment: str) -> None:
    """Start the unit ``name`` and leave it running on its own. Raises DynoctlError if it does not start."""
    mark = secrets.token_hex(12)
    channel = _prepare(session, name, program(argv, ""), environment, _START, mark)
    close(channel)


def _prepare(session: Session, name: str, script: str, environment: str, then: str, ready: str = "") -> Channel:
    """Send the script and variables of the program; return the channel once the server has written them."""
    ready = ready or secrets.token_hex(12)
    values = {"name": name, "program": script, "environment": environment, "ready": ready, "patience": str(PATIENCE)}
    channel = session.channel(name)
    try:
        channel.settimeout(START)
        channel.sendall((PRELUDE + assign(values) + then).encode())
        said, rest = read_to(channel, f"{ready}\n".encode(), START)
        channel.settimeout(START)
        if rest is not None:
            return channel
        while piece := channel.recv_stderr(PIECE):
            said += piece
        output = Output(exit_status(channel, START), "", said.decode(errors="replace"))
    except broken() as error:
        raise session.ended(channel, error=error) from None
    session.refuse_without_root(output)
    raise DynoctlError(
        f"{session.name}: cannot start the program: {output.stderr.strip()[-500:] or 'it ended without a message'}"
    )


_WRITE = """\
unit=$name.service script=/run/$name.sh variables=/run/$name.env
clean() { rm -f "$script" "$variables"; }
fail() { clean; exit 1; }
printf '%s' "$environment" > "$variables" && printf '%s' "$program" > "$script" || fail
"""

# One compound command, so that the shell has read all of it before it prints the marker and heartbeats follow on the
# same stdin. If the connection is lost just as the program starts, the unit may appear after the first stop: hence the
# second one.
_GUARD = f"""\
{{
trap '' HUP PIPE
{_WRITE}printf '%s\\n' "$ready"
while :; do
  word=$(timeout "$patience" sh -c 'read -r word && printf %s "$word"') || word=
  case $word in
    .) printf . ;;
    INT|TERM|QUIT|HUP) systemctl kill -s "$word" "$unit" ;;
    *) break ;;
  esac
done 2>/dev/null
trap '' HUP PIPE TERM
clean
systemctl stop "$unit" 2>/dev/null
[ "$word" = end ] || {{ sleep 3; systemctl stop "$unit"; }} >/dev/null 2>&1
exit 0
}}
"""

# systemd has read the env file by the time systemd-run returns, so it can be removed.
_START = f"""\
{{
{_WRITE}sh "$script" 2>&1 || fail
clean
printf '%s\\n' "$ready"
exit 0
}}
"""
