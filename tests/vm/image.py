"""The disk, the kernel and the initramfs of the guest. They are built once from Debian packages and cached."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab import rootfs
from infra.lab.run import run

PACKAGES = (*rootfs.BARE, "linux-image-cloud-amd64", "initramfs-tools", "udev", "thin", "puma", "unicorn", "curl")
"""A bare server of the lab, with what boots a machine and what its apps need."""

SIZE = "4G"
"""The size of the disk. It is sparse: it takes the space of what is on it."""

SETUP = """\
[Unit]
Description=The keys and the address of this session
Requires=dev-vdb.device sys-subsystem-net-devices-eth0.device
After=dev-vdb.device sys-subsystem-net-devices-eth0.device
Before=ssh.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=tar -xf /dev/vdb -C /
ExecStart=ip link set eth0 up
ExecStart=ip address add 10.0.2.15/24 dev eth0

[Install]
WantedBy=multi-user.target
"""
"""Installs what ``tests.vm.guest`` makes for each session: its second disk is a tar archive."""

RECIPE = 1
"""Increment it with every change of ``_build``. Changes of the values above are detected automatically."""


@dataclass(frozen=True)
class Image:
    directory: Path

    @property
    def disk(self) -> Path:
        return self.directory / "disk.img"

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        return self.directory / "initrd.img"


def ensure(release: str, say: Callable[[str], None]) -> Image:
    """The image of a Debian release. It is built if it is missing."""
    recipe = repr((RECIPE, rootfs.RECIPE, release, PACKAGES, SIZE, SETUP))
    made = rootfs.CACHE / f"guest-{release}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    rootfs.CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (rootfs.CACHE / "guest.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.is_dir():
            for stale in rootfs.CACHE.glob(f"guest-{release}-*"):
                shutil.rmtree(stale)
            say(f"Building the disk of the guest from Debian packages of {release} (once, takes about 3 minutes) ...")
            work = rootfs.CACHE / f"guest-{release}-new"
            work.mkdir()
            try:
                _build(release, work)
                (work / "made").rename(made)
            finally:
                shutil.rmtree(work)
    return Image(made)


def _build(release: str, work: Path) -> None:
    """Build ``made`` in ``work``."""
    rootfs.build(release, work, PACKAGES)
    root, made = Image(work / "root").directory, Image(work / "made")
    made.directory.mkdir()
    for kind, target in (("vmlinuz", made.kernel), ("initrd.img", made.initramfs)):
        found = sorted((root / "boot").glob(f"{kind}-*"))
        if len(found) != 1:
            raise DynoctlError(f"the root filesystem of the guest has {len(found)} files boot/{kind}-*, not 1")
        found[0].rename(target)
    (root / "etc/systemd/system/guest-setup.service").write_text(SETUP)
    run(["chroot", str(root), "systemctl", "enable", "guest-setup.service"])
    # Without this file, systemd regards the boot as the first one, and asks on the console for a locale.
    (root / "etc/machine-id").write_text("")
    run(["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(made.disk), SIZE])
    shutil.rmtree(root)
