"""Files over SSH: sent and fetched whole, checked by their digest; and trees that a server builds."""

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
from infra.remote.channel import PIECE
from infra.remote.quote import PRELUDE, assign, building

if TYPE_CHECKING:
    import paramiko

    from infra.remote.session import Session


def upload(session: Session, local: Path, path: str, sha256: str) -> None:
    """Send a file whole: beside its place, checked by sha256, then renamed. Raises DynoctlError."""
    size = local.stat().st_size
    ready = secrets.token_hex(12)
    script = PRELUDE + assign({"path": path, "sum": sha256, "size": str(size), "ready": ready}) + _RECEIVE
    channel = session.channel()
    try:
        channel.settimeout(60)
        channel.sendall(script.encode())
        # The shell says when it listens, so that it does not read the file as its script.
        if _after(channel, ready) is None:
            raise DynoctlError(f"{session.name}: cannot write {path}: {_tail(channel)}")
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
        raise session.lost(error) from None
    finally:
        channel.close()
    if status != 0:
        raise DynoctlError(f"{session.name}: sending {path} failed: {said or status}", "Is the server's disk full?")


def download(session: Session, path: str, local: Path) -> None:
    """Get a file whole, checked by sha256. Raises DynoctlError."""
    channel = session.channel()
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
        raise session.lost(error) from None
    finally:
        channel.close()
    if head.decode(errors="replace").strip() != digest.hexdigest():
        raise DynoctlError(f"{session.name}: {path} could not be read: {said or 'it came incomplete'}")


def build(session: Session, job: RemoteBuild, up: IO[bytes], down: IO[bytes], log: IO[bytes]) -> int:
    """Run build commands over a tree: a tar is sent, and if every command succeeded another comes back; what they print
    goes to ``log``. The status of the first that failed, or 0. Raises Unreachable."""
    channel = session.channel()
    deadline = time.monotonic() + job.timeout + 60
    ready = secrets.token_hex(12)
    try:
        channel.settimeout(60)
        channel.sendall(building(job.commands, job.environment, job.path, int(job.timeout), ready).encode())
        # The shell says when it listens, so that it does not read the tar as its script.
        if _after(channel, ready) is None:
            raise DynoctlError(f"{session.name}: cannot build there: {_tail(channel)}")
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
                raise Unreachable(f"{session.name}: the build did not end in its time")
            time.sleep(0.02)
        channel.settimeout(60)
        while piece := channel.recv_stderr(PIECE):
            log.write(piece)
        return int(channel.recv_exit_status())
    except (OSError, EOFError) as error:
        raise session.lost(error) from None
    finally:
        channel.close()


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
