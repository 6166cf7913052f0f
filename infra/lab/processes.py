"""Find the processes of a server from what the kernel reports, not only from recorded pids, which are reused."""

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
    """The start time of a process, in clock ticks since boot; 0 if it does not exist or has ended."""
    stat = _stat(pid)
    return 0 if not stat or stat[0] == "Z" else int(stat[19])


def running(state: ServerState) -> bool:
    """Whether the recorded process still runs: same pid, same start time, same boot of the local machine."""
    if state.pid <= 0 or state.started <= 0 or started(state.pid) != state.started:
        return False
    return state.boot in ("", boot_id())


def init(state: ServerState) -> int | None:
    """The pid on the local machine of the server's PID 1; None if it has none."""
    pending = [state.pid] if running(state) else []
    while pending:
        pid = pending.pop()
        with suppress(OSError, StopIteration):
            inside = _namespaced(pid)
            if len(inside) > 1 and inside[-1] == "1":
                return pid
            pending += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return None


def uptime(pid: int) -> float:
    """The age of a process, in seconds."""
    now = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.0, now - started(pid) / os.sysconf("SC_CLK_TCK"))


def memory(pids: set[int]) -> int:
    """The memory of these processes in bytes, with shared memory counted once."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def kill(lab: LabState, server: str, root: Path) -> None:
    """Kill all processes of the server. Raises DynoctlError if a process does not end."""
    deadline = time.monotonic() + 20
    keeper = lab.servers[server].pid if running(lab.servers[server]) else 0
    while found := belonging(lab, server, root):
        if time.monotonic() > deadline:
            raise DynoctlError(f"cannot stop {server}: processes {', '.join(map(str, sorted(found)))} do not end")
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    _reap(keeper)


def belonging(lab: LabState, server: str, root: Path) -> set[int]:
    """The pids of the server: in its groups, in its network and another pid namespace, or keeping it running."""
    found = cgroups.processes(lab, server)
    network_id = None
    with suppress(OSError):
        network_id = _identity(network.NAMESPACES / network.namespace(lab, server))
    own_namespace = _identity(Path("/proc/self/ns/pid"))
    mark = b"\0--directory\0" + os.fsencode(root) + b"\0"
    for pid in _all():
        with suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            keeps = mark in command and command.startswith((b"sh\0", b"systemd-nspawn\0"))
            if keeps or (
                network_id == _identity(Path(f"/proc/{pid}/ns/net"))
                and own_namespace != _identity(Path(f"/proc/{pid}/ns/pid"))
            ):
                found.add(pid)
    return found


def _identity(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_dev, status.st_ino


def _all() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208  # thousands of entries: names are enough


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _namespaced(pid: int) -> list[str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1:] for line in lines if line.startswith("NSpid"))


def _reap(pid: int) -> None:
    """Reap the process if this program started it: it is then a child of this program."""
    if pid > 0:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
