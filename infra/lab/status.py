"""The current state of the servers of a lab."""

from __future__ import annotations

from dataclasses import dataclass

from infra.errors import DynoctlError
from infra.lab import cgroups, processes, server
from infra.lab.state import LabState
from infra.remote.parallel import each


@dataclass(frozen=True)
class Row:
    """A server. ``state`` is reported by systemd (running, degraded, ...), or ``stopped``, or ``not responding``."""

    name: str
    release: str
    address: str
    state: str
    uptime_seconds: float
    memory_bytes: int
    processes: int
    machine_id: str


def rows(lab: LabState) -> list[Row]:
    """Every server of the lab, in numerical order."""
    found = each(lambda name: _row(lab, name), sorted(lab.servers, key=lambda name: lab.servers[name].number))
    return [row for row in found.values() if isinstance(row, Row)]


def _row(lab: LabState, name: str) -> Row:
    server_state = lab.servers[name]
    pid = processes.init(server_state)
    inside = cgroups.processes(lab, name)
    return Row(
        name=name,
        release=server_state.release,
        address=lab.address(name),
        state=_systemd_state(lab, name) if pid else "stopped",
        uptime_seconds=round(processes.uptime(pid), 1) if pid else 0.0,
        memory_bytes=processes.memory(inside),
        processes=len(inside),
        machine_id=server_state.machine_id,
    )


def _systemd_state(lab: LabState, name: str) -> str:
    try:
        return server.execute(lab, name, ["systemctl", "is-system-running"], timeout=5).stdout.strip() or "starting"
    except DynoctlError:
        return "not responding"


def text(found: list[Row]) -> str:
    """The servers as a table."""
    lines = [("SERVER", "RELEASE", "ADDRESS", "STATE", "UPTIME", "MEMORY")]
    for row in found:
        up = row.state != "stopped"
        uptime, memory = duration(row.uptime_seconds), f"{row.memory_bytes / 2**20:.0f} MiB"
        place = (row.name, row.release, row.address, row.state)
        lines.append((*place, uptime if up else "-", memory if up else "-"))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def duration(seconds: float) -> str:
    """``42s``, ``5m 03s``, ``2h 05m``, ``3d 04h``."""
    whole = int(seconds)
    for size, unit, part, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // part:02d}{below}"
    return f"{whole}s"
