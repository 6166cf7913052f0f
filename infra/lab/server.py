"""One server of a lab: its filesystem, its boot in a container, and its end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab import cgroups, network
from infra.lab.run import run
from infra.lab.state import LabState, ServerState

# nspawn ends with 133 when the server rebooted itself; then it is started again, as a machine's power stays on.
_SUPERVISE = """\
cd /
for group; do shift; [ "$group" = -- ] && break; echo $$ > "$group/cgroup.procs" || exit; done
while :; do "$@"; [ $? -eq 133 ] || exit; done
"""


def directory(lab: LabState, server: str) -> Path:
    """Where a server's layers and console are."""
    return lab.path / "servers" / server


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
    keep = [] if Path("/run/systemd/system").is_dir() else ["--keep-unit"]
    command = [
        *("systemd-nspawn", "--quiet", "--register=no", *keep, "--machine", f"{lab.name}-{server}"),
        *("--directory", str(base / "root"), "--capability=all", "--kill-signal=SIGRTMIN+3"),
        *("--network-namespace-path", f"/run/netns/{network.namespace(lab, server)}"),
        *("--bind=/dev/loop-control", "--resolv-conf=off", "--timezone=off", "--link-journal=no"),
        *("--console=pipe", "/sbin/lab-init"),
    ]
    groups = [str(path) for path in cgroups.make(lab, server)]
    console = str(base / "console.log")
    # Not subprocess: the container outlives this program, and nobody here waits for it.
    state.pid = os.posix_spawnp(
        "sh",
        ["sh", "-c", _SUPERVISE, "supervise", *groups, "--", *command],
        {"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_LOCK": "0"},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    state.started = _started(state.pid)
    lab.save()


def running(state: ServerState) -> bool:
    """True where the recorded process is still that process."""
    return state.pid > 0 and state.started > 0 and _started(state.pid) == state.started


def init(state: ServerState) -> int | None:
    """The pid, on this machine, of the server's own PID 1; None where it has none."""
    todo = [state.pid] if running(state) else []
    while todo:
        pid = todo.pop()
        try:
            inside = next(
                line.split()[1:]
                for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                if line.startswith("NSpid")
            )
            if len(inside) > 1 and inside[-1] == "1":
                return pid
            todo += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except (OSError, StopIteration):
            continue
    return None


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
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    into = [
        "nsenter",
        "--target",
        str(pid),
        "--mount",
        "--uts",
        "--ipc",
        "--net",
        "--pid",
        "--root",
        "--wd=/",
    ]
    return [*into, "env", "--chdir=/", "-i", f"PATH={path}", "HOME=/root", "TERM=linux"]


def stop(lab: LabState, server: str, *, hard: bool = False) -> None:
    """Shut the server down; ``hard`` is a power cut. Its filesystem stays."""
    state = lab.servers[server]
    if running(state):
        if not hard:
            os.killpg(state.pid, signal.SIGTERM)
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and (cgroups.processes(lab, server) or _alive(state)):
                time.sleep(0.05)
        if _alive(state):
            os.killpg(state.pid, signal.SIGKILL)
    cgroups.kill(lab, server)
    state.pid = state.started = 0
    lab.save()


def remove(lab: LabState, server: str) -> None:
    """Take away everything that the server was."""
    stop(lab, server, hard=True)
    base = directory(lab, server)
    _detach_loops(base)
    for _ in range(20):
        if not os.path.ismount(base / "root"):
            break
        run(["umount", "--recursive", str(base / "root")], check=False)
        time.sleep(0.05)
    else:
        run(["umount", "--lazy", str(base / "root")], check=False)
    network.detach(lab, server)
    cgroups.remove(lab, server)
    shutil.rmtree(base, ignore_errors=True)


def _detach_loops(base: Path) -> None:
    """Loop devices outlive a container that was killed; free those whose image is in this server's filesystem."""
    inodes = {
        (path.stat().st_dev, path.stat().st_ino) for path in base.glob("upper/var/lib/dynoctl/*/slugs/*.squashfs")
    }
    paths = {str(path) for path in base.glob("root/var/lib/dynoctl/*/slugs/*.squashfs")}
    listed = run(
        ["losetup", "--list", "--noheadings", "--raw", "--output", "NAME,BACK-INO,BACK-FILE"], check=False
    ).stdout
    for line in listed.splitlines():
        name, inode, file = [*line.split(" ", 2), "", ""][:3]
        ours = file.startswith(str(base)) or file.removesuffix(" (deleted)") in paths
        if ours or any(inode == str(number) and "/var/lib/dynoctl/" in file for _, number in inodes):
            run(["losetup", "--detach", name], check=False)


def _alive(state: ServerState) -> bool:
    return running(state)


def _started(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if stat[0] == "Z" else int(stat[19])
