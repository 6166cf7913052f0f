"""Check the requirements of the lab on the local machine, and install missing packages on request."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab import cgroups, state
from infra.lab.run import run
from infra.manifest import programs

PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
    "mksquashfs": "squashfs-tools",
    "dpkg-deb": "dpkg",
}
"""The Debian package of each program. mksquashfs is required by dynoctl itself, to build slugs."""

MKSQUASHFS = (4, 5)
"""The first version that creates reproducible images."""

_SYS_ADMIN, _NET_ADMIN = 21, 12
"""Linux capabilities for mounts and namespaces, and for network interfaces."""

LISTS = Path("/var/lib/apt/lists")


def root() -> None:
    """Raises DynoctlError if this is not Linux, or if the user is not root."""
    if platform.system() != "Linux":
        raise DynoctlError("the lab requires Linux", "run it in a Debian virtual machine")
    if os.geteuid() != 0:
        raise DynoctlError("the lab requires root, for mounts, namespaces and containers", "run the command with sudo")


def check(*, install: bool) -> None:
    """Raises DynoctlError with everything that is missing. With ``install``, installs missing packages first."""
    root()
    missing = _missing()
    if missing and install:
        _install(missing)
        missing = _missing()
    problems = list(_kernel())
    packages = " ".join(sorted({PROGRAMS[name] for name in missing}))
    if missing:
        problems.insert(0, f"Missing programs: {', '.join(missing)}. Run: apt-get install {packages}")
        if not install:
            problems[0] += " (or: dynoctl lab up --install-packages)"
    elif (old := _old_mksquashfs()) is not None:
        problems.append(old)
    if problems:
        raise DynoctlError("the lab cannot run on this machine", "\n  ".join(problems))


def _missing() -> list[str]:
    return [program for program in PROGRAMS if programs.find(program) is None]


def _install(missing: list[str]) -> None:
    packages = sorted({PROGRAMS[name] for name in missing})
    if programs.find("apt-get") is None:
        raise DynoctlError(
            f"cannot install {', '.join(missing)}: apt-get not found",
            f"install the equivalents of these Debian packages: {' '.join(packages)}",
        )
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    if not any(LISTS.glob("*Packages*")) or run(command, check=False, env=quiet).returncode != 0:
        run(
            ["apt-get", "update", "--quiet"], env=quiet
        )  # a fresh image has no package lists, and old lists may be stale
        run(command, env=quiet)


def _kernel() -> Iterator[str]:
    """Problems that installing packages does not fix."""
    capabilities = int(re.findall(r"CapEff:\s*(\w+)", Path("/proc/self/status").read_text())[0], 16)
    if not (capabilities >> _SYS_ADMIN & 1 and capabilities >> _NET_ADMIN & 1):
        yield "Permission to mount filesystems and create networks is missing. Run the container with --privileged."
    filesystems = Path("/proc/filesystems").read_text().split()
    for kind in ("overlay", "squashfs"):
        if kind not in filesystems and not _load(kind):
            yield f"The kernel does not support {kind}."
    if not Path("/dev/loop-control").exists():
        _load("loop")
        if not Path("/dev/loop-control").exists():
            yield "The kernel does not support loop devices."
    parent = next(path for path in (state.STATE, *state.STATE.parents) if path.exists())
    if run(["stat", "--file-system", "--format=%T", str(parent)], check=False).stdout.strip() == "overlayfs":
        yield f"{state.STATE} is on an overlay filesystem, which cannot hold another overlay. Mount a volume there."
    if not cgroups.hierarchies():
        yield f"Control groups are not mounted at {cgroups.ROOT}."
    elif not os.access(cgroups.hierarchies()[0], os.W_OK):
        yield f"{cgroups.hierarchies()[0]} is read-only. Run the container with --privileged."


def _load(module: str) -> bool:
    return programs.find("modprobe") is not None and run(["modprobe", module], check=False).returncode == 0


def _old_mksquashfs() -> str | None:
    output = run(["mksquashfs", "-version"], check=False).stdout
    found = re.search(r"version (\d+)\.(\d+)", output)
    if found is None or (int(found[1]), int(found[2])) >= MKSQUASHFS:
        return None
    required = ".".join(map(str, MKSQUASHFS))
    return f"mksquashfs {found[1]}.{found[2]} is too old. Install version {required} or later, as in Debian 12."
