"""What the lab needs of this machine, said all at once, and installed where that is asked for."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab import cgroups, state
from infra.lab.run import run

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
"""Each program with the Debian package that has it. mksquashfs is dynoctl's own need, to build slugs."""

MKSQUASHFS = (4, 5)
"""The first version whose images can be made the same everywhere."""

_SYS_ADMIN, _NET_ADMIN = 21, 12
"""Linux capabilities: to mount and make namespaces, and to make network interfaces."""

LISTS = Path("/var/lib/apt/lists")


def root() -> None:
    """Raises DynoctlError where this is not Linux, or not root."""
    if platform.system() != "Linux":
        raise DynoctlError("The lab needs Linux", "Run it in a Debian virtual machine.")
    if os.geteuid() != 0:
        raise DynoctlError("The lab needs root: it makes mounts, namespaces and containers", "Run it with sudo.")


def check(*, install: bool) -> None:
    """Raises DynoctlError naming everything that is missing; with ``install``, installs packages first."""
    root()
    missing = _missing()
    if missing and install:
        _install(missing)
        missing = _missing()
    lacks = list(_kernel())
    packages = " ".join(sorted({PROGRAMS[name] for name in missing}))
    if missing:
        lacks.insert(0, f"It needs {', '.join(missing)}. Install: apt-get install {packages}")
        if not install:
            lacks[0] += " (or run: dynoctl lab up --install-packages)"
    elif (old := _old_mksquashfs()) is not None:
        lacks.append(old)
    if lacks:
        raise DynoctlError("The lab cannot run on this machine", "\n  ".join(lacks))


def _missing() -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program) is None]


def _install(programs: list[str]) -> None:
    packages = sorted({PROGRAMS[name] for name in programs})
    if shutil.which("apt-get") is None:
        raise DynoctlError(
            f"The lab needs {', '.join(programs)}, and this machine has no apt to install them",
            f"On Debian they are in: {' '.join(packages)}",
        )
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    if not any(LISTS.glob("*Packages*")) or run(command, check=False, env=quiet).returncode != 0:
        run(["apt-get", "update", "--quiet"], env=quiet)  # no lists as in a fresh image, or stale ones
        run(command, env=quiet)


def _kernel() -> Iterator[str]:
    """What only another machine, or more rights on this one, can mend."""
    capabilities = int(re.findall(r"CapEff:\s*(\w+)", Path("/proc/self/status").read_text())[0], 16)
    if not (capabilities >> _SYS_ADMIN & 1 and capabilities >> _NET_ADMIN & 1):
        yield "This root may not mount or make networks. In a container, run it with --privileged."
    known = Path("/proc/filesystems").read_text().split()
    for kind in ("overlay", "squashfs"):
        if kind not in known and not _load(kind):
            yield f"This kernel has no {kind} filesystem."
    if not Path("/dev/loop-control").exists():
        _load("loop")
        if not Path("/dev/loop-control").exists():
            yield "This kernel has no loop devices."
    place = next(path for path in (state.STATE, *state.STATE.parents) if path.exists())
    if run(["stat", "--file-system", "--format=%T", str(place)], check=False).stdout.strip() == "overlayfs":
        yield f"{state.STATE} is on an overlay, and the servers' overlays cannot lie on one. Mount a volume there."
    if not cgroups.hierarchies():
        yield f"No control groups are mounted at {cgroups.ROOT}."
    elif not os.access(cgroups.hierarchies()[0], os.W_OK):
        yield f"{cgroups.hierarchies()[0]} is read-only. In a container, run it with --privileged."


def _load(module: str) -> bool:
    return shutil.which("modprobe") is not None and run(["modprobe", module], check=False).returncode == 0


def _old_mksquashfs() -> str | None:
    words = run(["mksquashfs", "-version"], check=False).stdout
    found = re.search(r"version (\d+)\.(\d+)", words)
    if found is None or (int(found[1]), int(found[2])) >= MKSQUASHFS:
        return None
    wanted = ".".join(map(str, MKSQUASHFS))
    return f"mksquashfs here is {found[1]}.{found[2]}; dynoctl needs {wanted} or later (Debian 12 has it)."
