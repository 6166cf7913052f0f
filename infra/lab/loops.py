"""Free the loop devices of a killed server, which belong to the local machine and would stay bound."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Set
from pathlib import Path

_GET_STATUS, _CLEAR = 0x4C05, 0x4C01
"""LOOP_GET_STATUS64 and LOOP_CLR_FD of the kernel."""
_INFO_SIZE = 232


def devices(root: Path, init: int | None) -> set[int]:
    """The device numbers of the server's own filesystems: its overlay, and its mounts while it runs."""
    found: set[int] = set()
    if os.path.ismount(root):
        found.add(root.stat().st_dev)
    if init is not None:
        found |= _mounted(init) - _mounted(os.getpid())
    return found


def free(backing: Set[int]) -> None:
    """Free every loop device whose image is on one of these filesystems."""
    for bound in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            device = os.open(Path("/dev") / bound.parts[3], os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # freed meanwhile
        try:
            info = fcntl.ioctl(device, _GET_STATUS, bytes(_INFO_SIZE))
            if struct.unpack_from("=Q", info)[0] in backing:
                fcntl.ioctl(device, _CLEAR)
        except OSError:
            continue
        finally:
            os.close(device)


def _mounted(pid: int) -> set[int]:
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    except OSError:
        return set()
    pairs = (line.split()[2].split(":") for line in lines)
    return {os.makedev(int(major), int(minor)) for major, minor in pairs}
