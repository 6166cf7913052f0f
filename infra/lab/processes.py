"""Which processes of this machine belong to a server: told by what the kernel says of them, never by a pid on file."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab import cgroups, network
from infra.lab.state import LabState, ServerState, boot_id


def started(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 where there is none, or it has ended."""
    stat = _stat(pid)
    return 0 if not stat or stat[0] == "Z" else int(stat[19])


def running(state: ServerState) -> bool:
    """True where the recorded process is still that process, in this boot of the machine."""
    if state.pid <= 0 or state.started <= 0 or started(state.pid) != state.started:
        return False
    return state.boot in ("", boot_id())


def init(state: ServerState) -> int | None:
    """The pid, on this machine, of the server's own PID 1; None where it has none."""
    todo = [state.pid] if running(state) else []
    while todo:
        pid = todo.pop()
        with suppress(OSError, StopIteration):
            inside = _namespaced(pid)
            if len(inside) > 1 and inside[-1] == "1":
                return pid
            todo += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return None


def uptime(pid: int) -> float:
    """Seconds that a process has been there."""
    now = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.0, now - started(pid) / os.sysconf("SC_CLK_TCK"))


def memory(pids: set[int]) -> int:
    """Bytes that these processes use, what several share counted once."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def kill(lab: LabState, server: str, root: Path) -> None:
    """End every process of the server at once. Raises DynoctlError where the kernel does not let go of one."""
    deadline = time.monotonic() + 20
    was = lab.servers[server].pid if running(lab.servers[server]) else 0
    while found := belonging(lab, server, root):
        if time.monotonic() > deadline:
            raise DynoctlError(f"{server} does not end: processes {', '.join(map(str, sorted(found)))} stay")
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    _reap(was)


def belonging(lab: LabState, server: str, root: Path) -> set[int]:
    """The server's processes: in its groups, in its network from another pid namespace, or keeping it running."""
    found = cgroups.processes(lab, server)
    network_id = None
    with suppress(OSError):
        network_id = _identity(network.NAMESPACES / network.namespace(lab, server))
    ours = _identity(Path("/proc/self/ns/pid"))
    mark = b"\0--directory\0" + os.fsencode(root) + b"\0"
    for pid in _all():
        with suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            keeps = mark in command and command.startswith((b"sh\0", b"systemd-nspawn\0"))
            if keeps or (
                network_id == _identity(Path(f"/proc/{pid}/ns/net")) and ours != _identity(Path(f"/proc/{pid}/ns/pid"))
            ):
                found.add(pid)
    return found


def _identity(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_dev, status.st_ino


def _all() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208  # thousands: names are enough


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _namespaced(pid: int) -> list[str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1:] for line in lines if line.startswith("NSpid"))


def _reap(pid: int) -> None:
    """Where it was this program that started the server, the ended process waits for it."""
    if pid > 0:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
