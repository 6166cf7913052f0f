"""One server of a lab: its filesystem, its boot in a container, and its end."""

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

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SHUTDOWN_TIMEOUT = 20
"""Seconds that a server has to shut down before its power is cut."""

# Keeps the server running: nspawn ends with 133 when the server rebooted itself, and then it is started again, as a
# machine's power stays on. Each boot gets fresh control groups. Arguments: the server, the lab's groups, --, nspawn.
_KEEP = f"""\
cd /
server=$1; shift; groups=
while [ "$1" != -- ]; do groups="$groups $1"; shift; done; shift
for group in $groups; do echo 0 > "$group/{cgroups.KEEP}/cgroup.procs" || exit; done
while :; do
  for group in $groups; do
    [ -d "$group/$server" ] && find "$group/$server" -depth -type d -exec rmdir {{}} + 2>/dev/null
    mkdir -p "$group/$server" || exit
  done
  (for group in $groups; do echo 0 > "$group/$server/cgroup.procs" || exit; done; exec "$@")
  [ $? -eq 133 ] || exit
done
"""


def directory(lab: LabState, server: str) -> Path:
    """Where a server's layers and console are."""
    return lab.path / "servers" / server


def machine(lab: LabState, server: str) -> str:
    """The container's name."""
    return f"{lab.name}-{server}"


def mount(lab: LabState, server: str, root: Path) -> Path:
    """The server's own filesystem: an overlay over the shared root."""
    base = directory(lab, server)
    merged = base / "root"
    for name in ("upper", "work", "root"):
        (base / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    if not os.path.ismount(merged):
        layers = f"lowerdir={root},upperdir={base / 'upper'},workdir={base / 'work'}"
        run(["mount", "-t", "overlay", f"dynolab-{lab.name}", "-o", layers, str(merged)])
    return merged


def boot(lab: LabState, server: str) -> None:
    """Start the container and write down its process. Returns before it has booted."""
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
    # Not subprocess: the container outlives this program, and nobody here waits for it.
    state.pid = os.posix_spawnp(
        "sh",
        ["sh", "-c", _KEEP, "keep", server, *groups, "--", *command],
        {"PATH": os.environ.get("PATH", PATH), "SYSTEMD_NSPAWN_LOCK": "0"},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    state.started, state.boot = processes.started(state.pid), boot_id()
    lab.save()


def last_words(lab: LabState, server: str) -> str:
    """The end of the server's journal where it can still be asked, and of its console where not."""
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
    """Run a program as root inside the server, without ssh."""
    return run([*enter(lab, server), *argv], stdin=stdin, check=False, timeout=timeout)


def enter(lab: LabState, server: str) -> list[str]:
    """The start of a command line that runs inside the server. Raises DynoctlError where it is not up."""
    pid = init(lab.servers[server])
    if pid is None:
        raise DynoctlError(f"{server} is not running", f"Start it: dynoctl lab up --name {lab.name}")
    # --wd without a value is the directory of the server's PID 1; "/" would be this machine's.
    spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]
    clean = ["env", "-i", f"PATH={PATH}", "HOME=/root", f"TERM={os.environ.get('TERM', 'linux')}"]
    return ["nsenter", "--target", str(pid), *spaces, *clean]


def stop(lab: LabState, server: str, *, hard: bool = False) -> None:
    """Shut the server down; ``hard`` is a power cut. Its filesystem stays."""
    state = lab.servers[server]
    root = directory(lab, server) / "root"
    pid = init(state)
    backing = loops.devices(root, pid)
    if pid is not None and not hard:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGRTMIN + 3)  # systemd's own signal for "power off"
        deadline = time.monotonic() + SHUTDOWN_TIMEOUT
        while running(state) and time.monotonic() < deadline:
            time.sleep(0.05)
    processes.kill(lab, server, root)
    loops.free(backing)
    state.pid = state.started = 0
    state.boot = ""


def remove(lab: LabState, server: str) -> None:
    """Take away everything that the server was, in whatever state it is."""
    stop(lab, server, hard=True)
    base = directory(lab, server)
    for _ in range(20):
        if not os.path.ismount(base / "root"):
            break
        run(["umount", "--recursive", str(base / "root")], check=False)
        time.sleep(0.05)
    else:
        run(["umount", "--lazy", str(base / "root")], check=False)
    with suppress(OSError):  # nspawn's own directory; it leaves it where /run is on a disk
        Path("/run/systemd/nspawn/propagate", machine(lab, server)).rmdir()
    network.detach(lab, server)
    cgroups.remove(lab, server)
    shutil.rmtree(base, ignore_errors=True)
