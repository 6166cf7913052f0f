"""Control groups of a server. Each controller needs a group per server, or CPU quotas inside have no effect."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab.state import LabState

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "pids", "memory", "systemd", "unified")
"""The last two are systemd's own hierarchies, in which servers must not share a group either."""

KEEP = "keep"
"""The group of the processes that keep the servers running. It is next to the groups of the servers, because a group
with child groups cannot contain processes on cgroup v2."""


def hierarchies() -> list[Path]:
    """The mounted cgroup v1 hierarchies, or the single hierarchy of cgroup v2."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    found = ((ROOT / name).resolve() for name in CONTROLLERS if (ROOT / name / "cgroup.procs").exists())
    return list(dict.fromkeys(found))


def lab_groups(lab: LabState) -> list[Path]:
    """The group of the lab in each hierarchy. The groups of its servers are below, by name."""
    return [root / "dynolab" / lab.name for root in hierarchies()]


def make(lab: LabState) -> list[Path]:
    """Create the groups of the lab. Raises DynoctlError if that is not permitted."""
    groups = lab_groups(lab)
    for group in groups:
        try:
            (group / KEEP).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DynoctlError(
                f"cannot create control groups: {error}",
                "use a virtual machine, or a privileged container with a writable /sys/fs/cgroup",
            ) from None
        for level in (group.parent.parent, group.parent, group):
            for controller in ("cpu", "memory", "pids"):
                # Only cgroup v2 has this file. Without a controller, quotas have no effect and everything else works.
                with suppress(OSError):
                    (level / "cgroup.subtree_control").write_text(f"+{controller}")
    return groups


def processes(lab: LabState, server: str) -> set[int]:
    """The pids of all processes in the groups of the server."""
    found: set[int] = set()
    for group in lab_groups(lab)[:1]:
        for file in (group / server).rglob("cgroup.procs"):
            with suppress(OSError):
                found.update(int(line) for line in file.read_text().split())
    return found


def remove(lab: LabState, server: str) -> None:
    """Remove the groups of the server, child groups first."""
    for group in lab_groups(lab):
        _remove(group / server)


def remove_lab(lab: LabState) -> None:
    """Remove the remaining groups of the lab, and their parent if this was the last lab."""
    for group in lab_groups(lab):
        _remove(group)
        with suppress(OSError):
            group.parent.rmdir()


def _remove(group: Path) -> None:
    below = sorted(group.rglob("*/"), reverse=True) if group.is_dir() else []
    for path in [*below, group]:
        with suppress(OSError):  # a group that still has processes is kept
            path.rmdir()
