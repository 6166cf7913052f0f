"""A server's control groups: without one of its own per controller, a CPU quota inside it would do nothing."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab.state import LabState

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "pids", "memory", "systemd", "unified")
"""The last two are systemd's own trees: two servers in one group there would move each other's processes."""

KEEP = "keep"
"""The group beside the servers', for the processes that keep them running: a group with groups of its own below
may hold no process on cgroup v2."""


def hierarchies() -> list[Path]:
    """Each mounted v1 controller; on a machine with cgroup v2 alone, its one tree."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    found = ((ROOT / name).resolve() for name in CONTROLLERS if (ROOT / name / "cgroup.procs").exists())
    return list(dict.fromkeys(found))


def lab_groups(lab: LabState) -> list[Path]:
    """The lab's group in each hierarchy; its servers' are below, by name."""
    return [root / "dynolab" / lab.name for root in hierarchies()]


def make(lab: LabState) -> list[Path]:
    """Make the lab's groups. Raises DynoctlError where this machine keeps them from root."""
    made = lab_groups(lab)
    for group in made:
        try:
            (group / KEEP).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DynoctlError(
                f"The lab cannot make control groups: {error}",
                "It needs a machine of its own, or a privileged container with a writable /sys/fs/cgroup.",
            ) from None
        for level in (group.parent.parent, group.parent, group):
            for controller in ("cpu", "memory", "pids"):
                # Only v2 has this file; where a controller is not to be had, quotas do nothing and all else works.
                with suppress(OSError):
                    (level / "cgroup.subtree_control").write_text(f"+{controller}")
    return made


def processes(lab: LabState, server: str) -> set[int]:
    """Every process in the server's groups, whatever it calls itself."""
    found: set[int] = set()
    for group in lab_groups(lab)[:1]:
        for file in (group / server).rglob("cgroup.procs"):
            with suppress(OSError):
                found.update(int(line) for line in file.read_text().split())
    return found


def remove(lab: LabState, server: str) -> None:
    """Remove the server's groups, from the leaves up."""
    for group in lab_groups(lab):
        _remove(group / server)


def remove_lab(lab: LabState) -> None:
    """Remove what is left of the lab's groups, and the parent of all labs' where this was the last."""
    for group in lab_groups(lab):
        _remove(group)
        with suppress(OSError):
            group.parent.rmdir()


def _remove(group: Path) -> None:
    below = sorted(group.rglob("*/"), reverse=True) if group.is_dir() else []
    for path in [*below, group]:
        with suppress(OSError):  # a group that still has processes stays
            path.rmdir()
