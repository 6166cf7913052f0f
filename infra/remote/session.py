"""One server, connected: run a script in one exec, send a file, hold a shell open. Counts its round trips."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from infra.errors import DynoctlError, Unreachable
from infra.model.resource import Command
from infra.remote.connect import connect, fingerprint
from infra.remote.quote import ENTRY, PRELUDE, assign, batch, building, entry
from infra.remote.target import Target

if TYPE_CHECKING:
    import paramiko

PIECE = 32 * 1024
"""Bytes handed to the channel at once: it copies what is left on each turn, so large pieces are slow."""


@dataclass(frozen=True)
class Output:
    """What a script left: exit status, stdout and stderr as text."""

    status: int
    stdout: str
    stderr: str


class Session:
    """A connection to one server. Not for use by two threads at once."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.connections = 0
        self.execs = 0
        self._connection = connect(target)
        self.connections += 1

    @property
    def name(self) -> str:
        return self.target.name

    def channel(self) -> paramiko.Channel:
        """A new exec channel that runs our root shell; the script goes to its stdin."""
        return self._exec(ENTRY)

    def program(self, name: str, terminal: tuple[str, int, int] | None = None) -> paramiko.Channel:
        """A new exec channel that runs the script of the one-off unit ``name``; in a terminal of this kind and size."""
        return self._exec(entry(name), terminal)

    def _exec(self, line: str, terminal: tuple[str, int, int] | None = None) -> paramiko.Channel:
        import paramiko

        transport = self._connection.transport
        try:
            if transport is None or not transport.is_active():
                raise EOFError("the connection is closed")
            channel: paramiko.Channel = transport.open_session(timeout=self.target.connect_timeout)
            if terminal is not None:
                channel.get_pty(*terminal)
            channel.exec_command(line)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self.lost(error) from None
        self.execs += 1
        return channel

    def run(self, script: str, timeout: float = 60) -> Output:
        """Run ``script`` as root in one exec. Raises Unreachable on a lost connection, or no root."""
        channel = self.channel()
        data = script.encode()
        sender = threading.Thread(target=_feed, args=(channel, data), daemon=True)
        sender.start()
        stdout, stderr = bytearray(), bytearray()
        deadline = time.monotonic() + timeout
        try:
            while True:
                while channel.recv_stderr_ready():
                    stderr += channel.recv_stderr(PIECE)
                channel.settimeout(max(0.1, min(1.0, deadline - time.monotonic())))
                try:
                    piece = channel.recv(PIECE)
                except TimeoutError:
                    if time.monotonic() > deadline:
                        raise Unreachable(
                            f"{self.name}: no answer within {timeout:.0f} s",
                            "Is the server overloaded, or its disk hung?",
                        ) from None
                    continue
                if not piece:
                    break
                stdout += piece
            while piece := channel.recv_stderr(PIECE):
                stderr += piece
            status = channel.recv_exit_status()
        except (OSError, EOFError) as error:
            raise self.lost(error) from None
        finally:
            channel.close()
        output = Output(status, stdout.decode(errors="replace"), stderr.decode(errors="replace"))
        self.refuse_without_root(output)
        return output

    def execute(self, command: Command) -> tuple[int, str]:
        """Run one command as root in one exec; its status and what it printed. Raises Unreachable."""
        nonce = secrets.token_hex(12)
        begin = f"printf '%s\\n' '{nonce} begin'\n"  # what a login shell prints stands before it
        text = self.run(PRELUDE + begin + batch([command], nonce), command.timeout + 10).stdout
        output, _, rest = text.rpartition(f"{nonce} begin\n")[2].partition(f"\n{nonce} 0 ")
        if not rest:
            raise Unreachable(f"{self.name}: its answer cannot be read: {text.strip()[-300:]}")
        return int(rest.split()[0]), output

    def refuse_without_root(self, output: Output) -> None:
        """Raise Unreachable where sudo would not make us root."""
        if output.status == 0 or output.stdout.strip():
            return
        text = output.stderr.strip()
        if "sudo" in text:
            raise Unreachable(
                f"{self.name}: {self.user} cannot become root without a password: {text.splitlines()[-1]}",
                "Log in as root, or give this login a NOPASSWD sudo rule: dynoctl sudoers prints it.",
            )
        raise Unreachable(f"{self.name}: the login shell failed with status {output.status}: {text[:300]}")

    def upload(self, local: Path, path: str, sha256: str) -> None:
        """Send a file whole: beside its place, checked by sha256, then renamed. Raises DynoctlError."""
        size = local.stat().st_size
        ready = secrets.token_hex(12)
        script = PRELUDE + assign({"path": path, "sum": sha256, "size": str(size), "ready": ready}) + _RECEIVE
        channel = self.channel()
        try:
            channel.settimeout(60)
            channel.sendall(script.encode())
            # The shell says when it listens, so that it does not read the file as its script.
            if _after(channel, ready) is None:
                raise DynoctlError(f"{self.name}: cannot write {path}: {_tail(channel)}")
            try:
                with local.open("rb") as file:
                    while piece := file.read(PIECE):
                        channel.sendall(piece)
                channel.shutdown_write()
            except OSError:
                # Where only the channel is closed, its other end gave up (a full disk) and says why.
                if not channel.closed or not channel.get_transport().is_active():
                    raise
            channel.settimeout(300)
            status = channel.recv_exit_status()
            said = _tail(channel)
        except (OSError, EOFError) as error:
            raise self.lost(error) from None
        finally:
            channel.close()
        if status != 0:
            raise DynoctlError(f"{self.name}: sending {path} failed: {said or status}", "Is the server's disk full?")

    def download(self, path: str, local: Path) -> None:
        """Get a file whole, checked by sha256. Raises DynoctlError."""
        channel = self.channel()
        digest = hashlib.sha256()
        ready = secrets.token_hex(12)
        try:
            channel.settimeout(60)
            channel.sendall((PRELUDE + assign({"path": path, "ready": ready}) + _GIVE).encode())
            channel.shutdown_write()
            head = _after(channel, ready) or b""
            while len(head) < 65 and (piece := channel.recv(65 - len(head))):
                head += piece
            head, early = head[:65], head[65:]
            digest.update(early)
            with local.open("wb") as file:
                file.write(early)
                while piece := channel.recv(PIECE):
                    digest.update(piece)
                    file.write(piece)
            said = _tail(channel)
        except (OSError, EOFError) as error:
            raise self.lost(error) from None
        finally:
            channel.close()
        if head.decode(errors="replace").strip() != digest.hexdigest():
            raise DynoctlError(f"{self.name}: {path} could not be read: {said or 'it came incomplete'}")

    def build(
        self,
        commands: Sequence[str],
        environment: Mapping[str, str],
        path: str,
        up: IO[bytes],
        down: IO[bytes],
        log: IO[bytes],
        timeout: float,
    ) -> int:
        """Run build commands over a tree: a tar goes up, and where they all ended well another comes down; what they
        print goes to ``log``. The status of the first that failed, or 0. Raises Unreachable."""
        channel = self.channel()
        deadline = time.monotonic() + timeout + 60
        ready = secrets.token_hex(12)
        try:
            channel.settimeout(60)
            channel.sendall(building(commands, environment, path, int(timeout), ready).encode())
            # The shell says when it listens, so that it does not read the tar as its script.
            if _after(channel, ready) is None:
                raise DynoctlError(f"{self.name}: cannot build there: {_tail(channel)}")
            threading.Thread(target=_send, args=(channel, up), daemon=True).start()
            # Not by the channel's timeout: that is the sender's, too, and a slow line is no broken one.
            while True:
                while channel.recv_stderr_ready():
                    log.write(channel.recv_stderr(PIECE))
                if channel.recv_ready() or channel.eof_received or channel.closed:
                    piece = channel.recv(PIECE)
                    if not piece:
                        break
                    down.write(piece)
                    continue
                if time.monotonic() > deadline:
                    raise Unreachable(f"{self.name}: the build did not end in its time")
                time.sleep(0.02)
            channel.settimeout(60)
            while piece := channel.recv_stderr(PIECE):
                log.write(piece)
            return int(channel.recv_exit_status())
        except (OSError, EOFError) as error:
            raise self.lost(error) from None
        finally:
            channel.close()

    @property
    def user(self) -> str:
        return str(self._connection.user)

    @property
    def host_key(self) -> str:
        """The host key that the server showed, as known_hosts has it: ``ssh-ed25519 SHA256:...``."""
        transport = self._connection.transport
        if transport is None:
            raise self.lost(EOFError("the connection is closed"))
        key = transport.get_remote_server_key()
        return f"{key.get_name()} {fingerprint(key)}"

    def lost(self, error: BaseException) -> Unreachable:
        """The error for a connection that broke."""
        return Unreachable(f"{self.name}: the connection broke: {error or type(error).__name__}")

    def close(self) -> None:
        """Leave. Whatever was locked through this connection is free once the server sees it."""
        self._connection.close()


# One compound command, so that the shell has read all of it before the file follows on the same stdin.
_RECEIVE = """\
{ mkdir -p "${path%/*}" && new=$path.$$.new && trap 'rm -f "$new"' EXIT && printf '%s\\n' "$ready" && cat > "$new" &&
  [ "$(wc -c < "$new")" -eq "$size" ] && [ "$(sha256sum < "$new")" = "$sum  -" ] &&
  { [ -s "$path" ] || { sync "$new"; mv -f "$new" "$path"; }; } 2>&1; exit $?; }
"""


# Its sha256 as 64 digits and an end of line, and then the file.
_GIVE = """\
printf '%s\\n' "$ready"
sum=$(sha256sum < "$path") && printf '%s\\n' "${sum%% *}" && cat "$path"
"""


def _send(channel: paramiko.Channel, data: IO[bytes]) -> None:
    try:
        while piece := data.read(PIECE):
            channel.sendall(piece)
        channel.shutdown_write()
    except (OSError, EOFError):
        pass  # the reader of this channel reports the broken connection


def _feed(channel: paramiko.Channel, data: bytes) -> None:
    try:
        for start in range(0, len(data), PIECE):
            channel.sendall(data[start : start + PIECE])
        channel.shutdown_write()
    except (OSError, EOFError):
        pass  # the reader of this channel reports the broken connection


def _after(channel: paramiko.Channel, ready: str) -> bytes | None:
    """Read the line ``ready``, past all that a login shell prints: what came behind it already, or None where the
    channel ended without it."""
    data, marker = b"", f"{ready}\n".encode()
    while marker not in data:
        piece = channel.recv(PIECE)
        if not piece:
            return None
        data += piece
    return data.partition(marker)[2]


def _tail(channel: paramiko.Channel) -> str:
    """What a command that ends, or has ended, still says; its words may come after its status."""
    data = b""
    channel.settimeout(5)
    for receive in (channel.recv, channel.recv_stderr):
        with suppress(TimeoutError):
            while piece := receive(PIECE):
                data += piece
    return data.decode(errors="replace").strip()[-300:]
