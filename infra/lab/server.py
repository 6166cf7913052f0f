"""A server of a lab: its filesystem, its container, and its removal."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab import cgroups, loops, network, processes
from infra.lab.processes import init, running
from infra.lab.run import run
from infra.lab.state import LabState, boot_id
from infra.manifest import programs

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SHUTDOWN_TIMEOUT = 20
"""Seconds that a server has to shut down before it is killed."""

# Keeps the server running: nspawn exits with 133 if the server rebooted, and is then started again. One that powered
# off is off the network, too. Each boot gets new control groups. Arguments: the server, its network interface, the
# groups of the lab, --, the nspawn command.
_KEEP = f"""\
cd /
server=$1; link=$2; shift 2; groups=
while [ "$1" != -- ]; do groups="$groups $1"; shift; done; shift
for group in $groups; do echo 0 > "$group/{cgroups.KEEP}/cgroup.procs" || exit; done
while :; do
  for group in $groups; do
    [ -d "$group/$server" ] && find "$group/$server" -depth -type d -exec rmdir {{}} + 2>/dev/null
    mkdir -p "$group/$server" || exit
  done
  (for group in $groups; do echo 0 > "$group/$server/cgroup.procs" || exit; done; exec "$@")
  [ $? -eq 133 ] || {{ ip link delete "$link"; exit; }}
done
"""


def directory(lab: LabState, server: str) -> Path:
    """The directory of a server's filesystem and console log."""
    return lab.path / "servers" / server


def machine(lab: LabState, server: str) -> str:
    """The name of the container."""
    return f"{lab.name}-{server}"


def mount(lab: LabState, server: str, root: Path) -> Path:
    """Mount the filesystem of the server, an overlay on the shared root. Returns its path."""
    base = directory(lab, server)
    merged = base / "root"
    for name in ("upper", "work", "root"):
        (base / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    if not os.path.ismount(merged):
        options = f"lowerdir={root},upperdir={base / 'upper'},workdir={base / 'work'}"
        run(["mount", "-t", "overlay", f"dynolab-{lab.name}", "-o", options, str(merged)])
    return merged


def boot(lab: LabState, server: str) -> None:
    """Start the container and save its process. Returns before the server has booted."""
    state = lab.servers[server]
    base = directory(lab, server)
    command = [
        *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--machine", machine(lab, server)),
        *("--directory", str(base / "root"), "--capability=all", "--kill-signal=SIGRTMIN+3"),
        *("--network-namespace-path", str(network.NAMESPACES / network.namespace(lab, server))),
        *("--bind=/dev/loop-control", "--resolv-conf=off", "--timezone=off", "--link-journal=no"),
        *("--console=pipe", "/sbin/lab-init"),
    ]
    groups = [str(path) for path in cgroups.make(lab)]
    console = str(base / "console.log")
    # Not subprocess: the container outlives this program, which does not wait for it.
    state.pid = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", _KEEP, "keep", server, network.interface(lab, server), *groups, "--", *command],
        {"PATH": programs.search_path() or PATH, "SYSTEMD_NSPAWN_LOCK": "0"},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    state.started, state.boot = processes.started(state.pid), boot_id()
    lab.save()


def last_log_lines(lab: LabState, server: str) -> str:
    """The last lines of the server's journal, or of its console if the journal cannot be read."""
    with suppress(DynoctlError):
        journal = execute(lab, server, ["journalctl", "--no-pager", "--quiet", "--lines=8"], timeout=5).stdout
        if journal.strip():
            return journal.rstrip()
    try:
        text = (directory(lab, server) / "console.log").read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-8:])


def execute(
    lab: LabState, server: str, argv: list[str], stdin: str | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a program as root in the server, without SSH."""
    return run([*enter(lab, server), *argv], stdin=stdin, check=False, timeout=timeout)


def enter(lab: LabState, server: str) -> list[str]:
    """The prefix of a command line that runs in the server. Raises DynoctlError if the server is not running."""
    pid = init(lab.servers[server])
    if pid is None:
        raise DynoctlError(f"{server} is not running", f"dynoctl lab up --name {lab.name}")
    # --wd without a value is the working directory of the server's PID 1; "/" would be that of the local machine.
    spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]
    clean = ["env", "-i", f"PATH={PATH}", "HOME=/root", f"TERM={os.environ.get('TERM', 'linux')}"]
    return ["nsenter", "--target", str(pid), *spaces, *clean]


def stop(lab: LabState, server: str, *, hard: bool = False) -> None:
    """Shut the server down, or kill it if ``hard`` is true. Its filesystem is kept."""
    state = lab.servers[server]
    root = directory(lab, server) / "root"
    pid = init(state)
    backing = loops.devices(root, pid)
    if pid is not None and not hard:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGRTMIN + 3)  # systemd powers off on this signal
        deadline = time.monotonic() + SHUTDOWN_TIMEOUT
        while running(state) and time.monotonic() < deadline:
            time.sleep(0.05)
    processes.kill(lab, server, root)
    loops.free(backing)
    network.off(lab, server)
    state.pid = state.started = 0
    state.boot = ""


def remove(lab: LabState, server: str) -> None:
    """Remove the server with all its files, whatever state it is in."""
    stop(lab, server, hard=True)
    base = directory(lab, server)
    for _ in range(20):
        if not os.path.ismount(base / "root"):
            break
        run(["umount", "--recursive", str(base / "root")], check=False)
        time.sleep(0.05)
    else:
        run(["umount", "--lazy", str(base / "root")], check=False)
    with suppress(OSError):  # nspawn leaves this directory behind
        Path("/run/systemd/nspawn/propagate", machine(lab, server)).rmdir()
    network.detach(lab, server)
    cgroups.remove(lab, server)
    shutil.rmtree(base, ignore_errors=True)
