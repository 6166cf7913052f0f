"""Files over SSH, sent and fetched whole and checked by digest, and builds of a tree on a server."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from infra.errors import DynoctlError, Unreachable
from infra.model.shell import RemoteBuild
from infra.remote import limits
from infra.remote.channel import PIECE, SILENCE, broken, close, exit_status, read_to, within
from infra.remote.quote import PRELUDE, assign, building

if TYPE_CHECKING:
    import paramiko

    from infra.remote.session import Session

SLOWEST = 4 << 20
"""Bytes in a second that the slowest disk writes and checks."""

SLOWEST_LINE = 16 << 10
"""Bytes in a second, on average, below which a connection counts as lost."""

TAIL = 5
"""Seconds to wait for the rest of a command's output after its exit status."""


_SILENT = "the shell ended without a message"


def upload(session: Session, local: Path, path: str, sha256: str) -> None:
    """Send a file to a temporary name, check its sha256, then rename it to ``path``. Raises DynoctlError."""
    size = local.stat().st_size
    ready = secrets.token_hex(12)
    script = PRELUDE + assign({"path": path, "sum": sha256, "size": str(size), "ready": ready}) + _RECEIVE
    channel = session.channel(f"the upload of {path}")
    try:
        channel.sendall(script.encode())
        # Wait until the shell has read its script, or it would read the file as part of it.
        if _after(channel, ready) is None:
            raise DynoctlError(f"{session.name}: cannot write {path}: {_tail(channel) or _SILENT}")
        try:
            with local.open("rb") as file, within(channel, SILENCE + size / SLOWEST_LINE):
                while piece := file.read(PIECE):
                    channel.sendall(piece)
            channel.shutdown_write()
        except TimeoutError:
            raise
        except OSError:
            # If only the channel is closed, the other end failed (a full disk) and says why.
            if not channel.closed or not channel.get_transport().is_active():
                raise
        status = exit_status(channel, SILENCE + size / SLOWEST)
        said = _tail(channel)
        if status < 0:
            raise EOFError(said or "the server ended it")
    except broken() as error:
        raise session.lost(error) from None
    finally:
        close(channel)
    if status != 0:
        raise DynoctlError(
            f"{session.name}: cannot send {path}: {said or f'exit status {status}'}",
            "check the free disk space on the server: df -h /var/lib",
        )


def download(session: Session, path: str, local: Path, largest: int) -> None:
    """Fetch a file whole and check its sha256. Raises DynoctlError, also if it has more than ``largest`` bytes or comes
    slower than ``SLOWEST_LINE``."""
    channel = session.channel(f"the download of {path}", largest)
    digest = hashlib.sha256()
    ready = secrets.token_hex(12)
    try:
        channel.sendall((PRELUDE + assign({"path": path, "ready": ready}) + _GIVE).encode())
        channel.shutdown_write()
        head = _after(channel, ready) or b""
        while len(head) < 65 and (piece := channel.recv(65 - len(head))):
            head += piece
        head, early = head[:65], head[65:]
        digest.update(early)
        began = time.monotonic()
        with local.open("wb") as file:
            file.write(early)
            while piece := channel.recv(PIECE):
                digest.update(piece)
                file.write(piece)
                took = time.monotonic() - began
                if took > SILENCE + file.tell() / SLOWEST_LINE:
                    raise TimeoutError(f"only {file.tell() >> 10} KiB of {path} came in {took:.0f} s")
        said = _tail(channel)
    except broken() as error:
        raise session.lost(error) from None
    finally:
        close(channel)
    if head.decode(errors="replace").strip() != digest.hexdigest():
        raise DynoctlError(f"{session.name}: cannot read {path}: {said or 'the transfer was incomplete'}")


def build(session: Session, job: RemoteBuild, up: IO[bytes], down: IO[bytes], log: IO[bytes]) -> int:
    """Run build commands on a tree: the tar in ``up`` is sent, and if every command succeeds the result is written to
    ``down`` as a tar. Output goes to ``log``. Returns the status of the first command that failed, or 0. Raises
    Unreachable."""
    channel = session.channel("the build", limits.IMAGE)
    deadline = time.monotonic() + job.timeout + 60
    ready = secrets.token_hex(12)
    try:
        channel.sendall(building(job.commands, job.environment, job.path, int(job.timeout), ready).encode())
        # Wait until the shell has read its script, or it would read the tar as part of it.
        if _after(channel, ready) is None:
            raise DynoctlError(f"{session.name}: cannot start the build: {_tail(channel) or _SILENT}")
        threading.Thread(target=_send, args=(channel, up), daemon=True).start()
        # The channel's timeout would apply to the sender too, and a slow connection is not a lost one.
        while True:
            while channel.recv_stderr_ready():
                log.write(channel.recv_stderr(PIECE))
            if time.monotonic() > deadline:
                raise Unreachable(f"{session.name}: the build timed out after {job.timeout:.0f} s")
            if channel.recv_ready() or channel.eof_received or channel.closed:
                piece = channel.recv(PIECE)
                if not piece:
                    break
                down.write(piece)
                continue
            time.sleep(0.02)
        while piece := channel.recv_stderr(PIECE):
            log.write(piece)
        status = exit_status(channel, SILENCE)
        if status < 0:
            raise EOFError("the build has no exit status")
        return status
    except broken() as error:
        raise session.lost(error) from None
    finally:
        close(channel)


# One compound command, so that the shell has read all of it before the file follows on stdin. What an earlier upload of
# the file left would take the space that this one needs. A shell that is ended by a signal runs no trap for EXIT.
_RECEIVE = """\
{ mkdir -p "${path%/*}" && new=$path.$$.new && rm -f "$path".*.new && trap 'rm -f "$new"' EXIT &&
  trap 'exit 1' HUP PIPE TERM && printf '%s\\n' "$ready" && cat > "$new" &&
  [ "$(wc -c < "$new")" -eq "$size" ] && [ "$(sha256sum < "$new")" = "$sum  -" ] &&
  sync "$new" && mv -f "$new" "$path" && sync "${path%/*}"; exit $?; } 2>&1
"""


# Prints the sha256 as 64 hex digits and a newline, then the file.
_GIVE = """\
printf '%s\\n' "$ready"
sum=$(sha256sum < "$path") && printf '%s\\n' "${sum%% *}" && cat "$path"
"""


def _send(channel: paramiko.Channel, data: IO[bytes]) -> None:
    try:
        while piece := data.read(PIECE):
            channel.sendall(piece)
        channel.shutdown_write()
    except broken(ValueError):
        pass  # the reader of this channel reports the lost connection; if it gave up, the file is closed


def _after(channel: paramiko.Channel, ready: str) -> bytes | None:
    """Read up to the line ``ready``, ignoring what a login shell prints before it. Returns what was read past that
    line, or None if the channel ended without it."""
    found = read_to(channel, f"{ready}\n".encode(), SILENCE)[1]
    channel.settimeout(SILENCE)
    return found


def _tail(channel: paramiko.Channel) -> str:
    """The rest of a command's output; it may arrive after the exit status. A server may go on talking."""
    data, deadline = b"", time.monotonic() + TAIL
    for receive in (channel.recv, channel.recv_stderr):
        with suppress(TimeoutError):
            while (left := deadline - time.monotonic()) > 0:
                channel.settimeout(left)
                if not (piece := receive(PIECE)):
                    break
                data = (data + piece)[-limits.WORDS :]
    return data.decode(errors="replace").strip()[-300:]
