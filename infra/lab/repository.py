"""The apt repositories for the bare servers of a lab, one per release, served on the bridge of the lab only."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab.processes import started
from infra.lab.run import run
from infra.lab.state import LabState, boot_id

PORT = 8089


def index(directory: Path) -> None:
    """Write the ``Packages`` file of a flat repository: the control data, size and hash of each package."""
    stanzas = []
    for package in sorted(directory.glob("*.deb")):
        data = package.read_bytes()
        control = run(["dpkg-deb", "--field", str(package)]).stdout.strip()
        digest = hashlib.sha256(data).hexdigest()
        stanzas.append(f"{control}\nFilename: ./{package.name}\nSize: {len(data)}\nSHA256: {digest}\n")
    (directory / "Packages").write_text("\n".join(stanzas))


def source(lab: LabState, release: str) -> str:
    """The line for the sources.list of a bare server. The repository is unsigned: it is served locally only."""
    return f"deb [trusted=yes] http://{lab.gateway}:{PORT}/{release}/ ./\n"


def serve(lab: LabState, bases: Mapping[str, Path]) -> None:
    """Serve the repository in the directory of each release. Returns when it answers."""
    directory = lab.path / "repository"
    directory.mkdir(mode=0o700, exist_ok=True)
    for release, base in bases.items():
        link = directory / release
        if not link.is_symlink() or link.readlink() != base / "repository":
            link.unlink(missing_ok=True)
            link.symlink_to(base / "repository")
    if _running(lab):
        return
    # Not subprocess: the process outlives this program, which does not wait for it.
    argv = [sys.executable, "-m", "http.server", "--bind", lab.gateway, "--directory", str(directory)]
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
    raise DynoctlError(f"cannot serve packages at {lab.gateway}:{PORT}", "stop the process that uses the port")


def stop(lab: LabState) -> None:
    """Kill the process, if it is still running."""
    pid = lab.repository[0]
    if _running(lab):
        os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
    lab.repository = (0, 0, "")


def _running(lab: LabState) -> bool:
    pid, since, boot = lab.repository
    return pid > 0 and since > 0 and boot == boot_id() and started(pid) == since
