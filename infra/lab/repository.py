"""An apt repository for the lab's bare servers, served on the lab's own bridge and nowhere else."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab.processes import started
from infra.lab.run import run
from infra.lab.state import LabState, boot_id

PORT = 8089


def index(directory: Path) -> None:
    """Write the ``Packages`` of a flat repository: what each package says of itself, its size and its sum."""
    stanzas = []
    for package in sorted(directory.glob("*.deb")):
        data = package.read_bytes()
        control = run(["dpkg-deb", "--field", str(package)]).stdout.strip()
        digest = hashlib.sha256(data).hexdigest()
        stanzas.append(f"{control}\nFilename: ./{package.name}\nSize: {len(data)}\nSHA256: {digest}\n")
    (directory / "Packages").write_text("\n".join(stanzas))


def source(lab: LabState) -> str:
    """The line for a bare server's sources.list. Nothing signs it: it never leaves this machine."""
    return f"deb [trusted=yes] http://{lab.gateway}:{PORT}/ ./\n"


def serve(lab: LabState, made: Path) -> None:
    """Serve the repository below ``made``, unless it is served already. Returns when it answers."""
    if _running(lab):
        return
    # Not subprocess: it outlives this program, and nobody here waits for it.
    argv = [sys.executable, "-m", "http.server", "--bind", lab.gateway, "--directory", str(made / "repository")]
    pid = os.posix_spawn(
        sys.executable,
        [*argv, str(PORT)],
        {},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    lab.repository = (pid, started(pid), boot_id())
    lab.save()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((lab.gateway, PORT), 1):
            return
        time.sleep(0.05)
    raise DynoctlError(f"The packages are not served at {lab.gateway}:{PORT}", "Is that port taken on this machine?")


def stop(lab: LabState) -> None:
    """End the process, if it is still that process."""
    pid = lab.repository[0]
    if _running(lab):
        os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
    lab.repository = (0, 0, "")


def _running(lab: LabState) -> bool:
    pid, since, boot = lab.repository
    return pid > 0 and since > 0 and boot == boot_id() and started(pid) == since
