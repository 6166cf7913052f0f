"""A connection to one server: runs scripts, sends files and opens shells, and counts its round trips."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from infra.errors import Unreachable
from infra.model.answer import reading
from infra.model.provider import Fragment
from infra.model.resource import Command
from infra.model.shell import RemoteBuild, Sections
from infra.model.target import Target
from infra.remote import limits, transfer
from infra.remote.channel import PIECE, SILENCE, broken, close, exit_status, reason, within
from infra.remote.channels import Channels
from infra.remote.known_hosts import fingerprint
from infra.remote.login_shell import refused
from infra.remote.quote import ENTRY, PRELUDE, SPARE, batch, entry, observation, sections

if TYPE_CHECKING:
    import paramiko

    from infra.remote.locked import LockedShell

SHORT = 2 * PIECE
"""Bytes of a script that is sent without a thread for it. An observation has 32 KB."""

STATUS = 10
"""Seconds to wait for the exit status of a shell whose output has ended."""


@dataclass(frozen=True)
class Output:
    """The result of a script: exit status, stdout and stderr."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Examined:
    """The answer to several fragments and a command: the sections, the command's exit status and output (None if it did
    not run), and what the login printed to stderr."""

    sections: Sections
    answer: tuple[int, str] | None
    warnings: str


class Session:
    """A connection to one server. Not for use by two threads at once."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.connections = 0
        self.execs = 0
        self._channels = Channels(target)
        self.connections += 1

    @property
    def name(self) -> str:
        return self.target.name

    def channel(
        self, what: str = "a script", limit: int | None = limits.OUTPUT, window: int | None = None
    ) -> paramiko.Channel:
        """A new exec channel with a root shell that reads its script from stdin. If it prints more than ``limit``
        bytes, reading raises OutputTooLarge for ``what``. ``window`` is how many bytes it may send ahead."""
        return self._exec(ENTRY, what, limit, window=window)

    def program(self, name: str, terminal: tuple[str, int, int] | None = None) -> paramiko.Channel:
        """A new exec channel that runs the script of the one-off unit ``name``.

        ``terminal`` is the type, columns and rows of the terminal to run it in."""
        return self._exec(entry(name), name, None, terminal)

    def _exec(
        self,
        line: str,
        what: str,
        limit: int | None,
        terminal: tuple[str, int, int] | None = None,
        window: int | None = None,
    ) -> paramiko.Channel:

        channel: paramiko.Channel | None = None
        try:
            channel = self._channels.open(window)
            limits.meter(channel, self.name, what, limit)
            with within(channel, self.target.connect_timeout):
                if terminal is not None:
                    channel.get_pty(*terminal)
                channel.exec_command(line)
                if line == ENTRY:
                    with suppress(*broken()):  # what reads the channel reports why it was closed
                        channel.sendall(SPARE)
        except broken() as error:
            # A program that ends at once may end before the answer to its start is read.
            raise (self.lost(error) if channel is None else self.ended(channel, error=error)) from None
        channel.settimeout(SILENCE)
        self.execs += 1
        self.connections = len(self._channels)
        return channel

    def run(
        self,
        script: str,
        timeout: float = 60,
        what: str = "a script",
        line: str = ENTRY,
        *,
        proof: str = "",
        secret: bool = False,
    ) -> Output:
        """Run ``script`` as root in one exec, which prints ``proof`` if it runs. Raises Unreachable if the connection
        is lost or the script did not run, and OutputTooLarge for ``what`` if it prints too much. With ``secret``, what
        is printed instead of the proof is not shown: it may be the script."""
        channel = self._exec(line, what, limits.OUTPUT)
        data = script.encode()
        # What fits into the buffers of the way and the window is taken at once, whatever the script prints.
        if len(data) <= min(SHORT, channel.out_window_size):
            _feed(channel, data)
        else:
            threading.Thread(target=_feed_slowly, args=(channel, data), daemon=True).start()
        stdout, stderr = bytearray(), bytearray()
        deadline = time.monotonic() + timeout
        try:
            while True:
                while channel.recv_stderr_ready():
                    stderr += channel.recv_stderr(PIECE)
                if time.monotonic() > deadline:
                    if proof.encode() not in stdout:
                        raise self._refused(None, b"" if secret else stdout, stderr)
                    raise Unreachable(
                        f"{self.name}: timed out after {timeout:.0f} s",
                        "check the load and the disks of the server",
                    )
                channel.settimeout(max(0.1, min(0.1 if stderr else 1.0, deadline - time.monotonic())))
                try:
                    piece = channel.recv(PIECE)
                except TimeoutError:
                    continue
                if not piece:
                    break
                stdout += piece
            channel.settimeout(SILENCE)
            while piece := channel.recv_stderr(PIECE):
                stderr += piece
            status = exit_status(channel, SILENCE)
        except broken() as error:
            raise self.lost(error) from None
        finally:
            close(channel)
        if proof.encode() not in stdout:
            raise self._refused(status, b"" if secret else stdout, stderr)
        output = Output(status, stdout.decode(errors="replace"), stderr.decode(errors="replace"))
        self.refuse_without_root(output)
        return output

    def execute(self, command: Command) -> tuple[int, str]:
        """Run one command as root in one exec; return its exit status and output. Raises Unreachable."""
        nonce = secrets.token_hex(12)
        proof = f"{nonce} begin\n"
        # A login shell may print something first. A forced command may print the script, which has no proof in it.
        begin = f"printf '%s begin\\n' '{nonce}'\n"
        what = command.label or " ".join(command.argv[:2])
        script = PRELUDE + begin + batch([command], nonce)
        text = self.run(script, command.timeout + 10, what, proof=proof, secret=command.secret).stdout
        output, _, rest = text.rpartition(proof)[2].partition(f"\n{nonce} 0 ")
        if not rest:
            raise Unreachable(f"{self.name}: unexpected output: {text.strip()[-300:]}")
        with reading(self.name):
            return int(rest.split()[0]), output

    def examine(self, fragments: Mapping[str, Fragment], command: Command | None, timeout: float) -> Examined:
        """Run every fragment and then the command in one exec. Raises as ``observe`` does."""
        nonce, second = secrets.token_hex(12), secrets.token_hex(12)
        script = observation(fragments, nonce)
        if command is not None:
            script += f"printf '%s\\n' '{second} begin'\n" + batch([command], second)
        output = self.run(
            script, timeout, "checkup", proof=f"{nonce} begin", secret=command is not None and command.secret
        )
        text = output.stdout
        printed, _, rest = text.rpartition(f"{second} begin\n")[2].partition(f"\n{second} 0 ")
        with reading(self.name):
            answer = (int(rest.split()[0]), printed) if rest else None
            return Examined(sections(text, nonce), answer, output.stderr)

    def refuse_without_root(self, output: Output) -> None:
        """Raise Unreachable if sudo or the login shell failed."""
        if output.status != 0 and not output.stdout.strip():
            raise refused(self.name, self.user, output.status, "", output.stderr)

    def _refused(self, status: int | None, stdout: bytes | bytearray, stderr: bytes | bytearray) -> Unreachable:
        said = (text[: limits.WORDS].decode(errors="replace") for text in (stdout, stderr))
        return refused(self.name, self.user, status, *said)

    def observe(self, fragments: Mapping[str, Fragment], timeout: float = 60) -> Sections:
        """Run every fragment in one exec. Raises Unreachable if the connection is lost or there is no root."""
        nonce = secrets.token_hex(12)
        output = self.run(observation(fragments, nonce), timeout, "observation", proof=f"{nonce} begin")
        if output.status != 0 and f"{nonce} done" not in output.stdout:
            raise Unreachable(f"{self.name}: observation failed: {(output.stderr or output.stdout).strip()[-300:]}")
        return sections(output.stdout, nonce)

    def shell(self, app: str, holder: str) -> LockedShell:
        """Open a root shell that can take the app's lock. Raises Unreachable."""
        from infra.remote.locked import LockedShell

        return LockedShell(self, app, holder)

    def upload(self, local: Path, path: str, sha256: str) -> None:
        """Send a file to a temporary name, check its sha256, then rename it to ``path``. Raises DynoctlError."""
        transfer.upload(self, local, path, sha256)

    def download(self, path: str, local: Path, largest: int | None = None) -> None:
        """Fetch a file whole and check its sha256. Raises DynoctlError, also if it is larger than ``largest`` bytes."""
        transfer.download(self, path, local, largest or limits.IMAGE)

    def build(self, job: RemoteBuild, up: IO[bytes], down: IO[bytes], log: IO[bytes]) -> int:
        """Build a tree on the server. Raises Unreachable."""
        return transfer.build(self, job, up, down, log)

    @property
    def user(self) -> str:
        return str(self._channels.first.user)

    @property
    def host_key(self) -> str:
        """Type and fingerprint of the server's host key, such as ``ssh-ed25519 SHA256:...``."""
        transport = self._channels.first.transport
        if transport is None:
            raise self.lost(EOFError("the connection is closed"))
        key = transport.get_remote_server_key()
        return f"{key.get_name()} {fingerprint(key.asbytes())}"

    def lost(self, error: BaseException) -> Unreachable:
        """The error for a lost connection."""
        return Unreachable(f"{self.name}: connection lost: {reason(error)}")

    def ended(self, channel: paramiko.Channel, said: bytes = b"", error: BaseException | None = None) -> Unreachable:
        """The error for a shell that ended before it began, by what it said on stderr and its exit status, which
        arrives after the end of its output: it is no root shell, or the connection was lost by ``error``."""
        if isinstance(error, TimeoutError):  # there is nothing more to wait for
            return self.lost(error)
        status = -1
        with suppress(*broken()):
            while channel.recv_stderr_ready() and len(said) < limits.WORDS:
                said += channel.recv_stderr(PIECE)
            status = exit_status(channel, STATUS)
        if status > 0:
            return self._refused(status, b"", said)
        return self.lost(error) if error is not None else self.closed(said)

    def closed(self, said: bytes = b"") -> Unreachable:
        """The error for a channel that the server closed; ``said`` is what it printed on stderr."""
        text = said.decode(errors="replace").strip()
        return self.lost(EOFError(text[-300:] or "the server closed the session"))

    def close(self) -> None:
        """Close the connections. Their locks are released once the server notices."""
        self._channels.close()


def _feed_slowly(channel: paramiko.Channel, data: bytes) -> None:
    """Send what the server may take long to read. The channel has the time limit of its reader, which is shorter, and
    the reader closes it in the end."""
    at = 0
    with suppress(*broken()):
        while at < len(data) and not channel.closed:
            with suppress(TimeoutError):
                at += channel.send(data[at : at + PIECE])
        channel.shutdown_write()


def _feed(channel: paramiko.Channel, data: bytes) -> None:
    try:
        for start in range(0, len(data), PIECE):
            channel.sendall(data[start : start + PIECE])
        channel.shutdown_write()
    except broken():
        pass  # the reader of this channel reports the lost connection
