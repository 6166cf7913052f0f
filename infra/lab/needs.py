"""What the lab needs of this machine, said all at once, and installed where that is asked for."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab.run import run

PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "ssh-keygen": "openssh-client",
    "nsenter": "util-linux",
    "losetup": "mount",
    "mksquashfs": "squashfs-tools",
}
"""Each program with the Debian package that has it. mksquashfs is dynoctl's own need, to build slugs."""


def check(*, install: bool) -> None:
    """Raises DynoctlError naming everything that is missing; with ``install``, installs packages first."""
    if platform.system() != "Linux":
        raise DynoctlError("The lab needs Linux", "Run it in a Debian virtual machine.")
    if os.geteuid() != 0:
        raise DynoctlError("The lab needs root: it makes mounts, namespaces and containers", "Run it with sudo.")
    missing = _missing()
    if missing and install:
        if shutil.which("apt-get") is None:
            raise DynoctlError(f"The lab needs {', '.join(missing)}", "Install them with your package manager.")
        _install(missing)
        missing = _missing()
    if missing:
        packages = " ".join(sorted({PROGRAMS[name] for name in missing}))
        raise DynoctlError(
            f"The lab needs {', '.join(missing)}",
            f"Install them: apt-get install {packages} (or run: dynoctl lab up --install-packages)",
        )
    if not Path("/dev/loop-control").exists():
        run(["modprobe", "loop"], check=False)
        if not Path("/dev/loop-control").exists():
            raise DynoctlError("The lab needs loop devices, and this kernel has none")


def _missing() -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program) is None]


def _install(programs: list[str]) -> None:
    packages = sorted({PROGRAMS[name] for name in programs})
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    if run(command, check=False).returncode != 0:
        run(["apt-get", "update", "--quiet"])
        run(command)
