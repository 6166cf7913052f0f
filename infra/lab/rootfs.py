"""The one Debian root that all servers of all labs share, built once and cached outside the tree."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab.run import run

CACHE = Path("/var/cache/dynoctl-lab")

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "iproute2", "procps", "sudo"),
    *("ruby", "thin", "ruby-sinatra", "ruby-rack", "ruby-pg", "ruby-redis", "ruby-dalli"),
    *("postgresql", "redis-server", "memcached"),
)
"""A server of the lab: sshd, systemd and Ruby. The services are on all of them and run on one."""

SERVICES = ("postgresql", "redis-server", "memcached")

QUIET = (
    *(
        "apt-daily.timer",
        "apt-daily-upgrade.timer",
        "dpkg-db-backup.timer",
        "e2scrub_all.timer",
        "e2scrub_reap.service",
    ),
    *(
        "fstrim.timer",
        "systemd-timesyncd.service",
        "systemd-networkd.service",
        "systemd-networkd-wait-online.service",
    ),
    *(
        "systemd-resolved.service",
        "console-getty.service",
        "getty@.service",
        "getty.target",
        "systemd-pstore.service",
    ),
    *(
        "systemd-random-seed.service",
        "systemd-update-utmp.service",
        "systemd-logind.service",
        "logrotate.timer",
    ),
)
"""Units that a server of the lab does without, so that it boots in seconds."""

_FILES = {
    "etc/ssh/sshd_config.d/lab.conf": (
        "UseDNS no\nMaxStartups 200:30:400\nMaxSessions 100\nPermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\nHostKey /etc/ssh/ssh_host_ed25519_key\n"
    ),
    "etc/sudoers.d/deploy": "deploy ALL=(ALL) NOPASSWD: ALL\n",
    "etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=volatile\nRuntimeMaxUse=32M\n",
    "etc/redis/lab.conf": 'include /etc/redis/redis.conf\nbind * -::*\nprotected-mode no\nsave ""\n',
    "etc/systemd/system/redis-server.service.d/lab.conf": (
        "[Service]\nExecStart=\n"
        "ExecStart=/usr/bin/redis-server /etc/redis/lab.conf --supervised systemd --daemonize no\n"
    ),
    "sbin/lab-init": """\
#!/bin/sh
# Where the host has cgroup v1, the container's controllers come read-only, and a CPU quota would do nothing.
for one in cpu cpuacct pids memory cpu,cpuacct; do
  [ -d /sys/fs/cgroup/$one ] && mount -o remount,bind,rw /sys/fs/cgroup/$one 2>/dev/null
done
number=0
while [ $number -lt 256 ]; do
  [ -e /dev/loop$number ] || mknod -m 0660 /dev/loop$number b 7 $number
  number=$((number + 1))
done
exec /lib/systemd/systemd
""",
}


def ensure(say: Callable[[str], None]) -> Path:
    """The path of the built root; builds it where it is not there. Safe against kills and against two at once."""
    CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    suite = _suite()
    recipe = repr((suite, PACKAGES, QUIET, sorted(_FILES.items())))
    root = CACHE / f"root-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    if root.is_dir():
        return root
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if root.is_dir():
            return root
        for stale in [*CACHE.glob("root-*"), *CACHE.glob("new-*")]:
            if not _in_use(stale):
                shutil.rmtree(stale)
        say("Building the servers' root (once; about a minute) ...")
        fresh = CACHE / f"new-{os.getpid()}"
        _build(suite, fresh)
        fresh.rename(root)
    return root


def _build(suite: str, root: Path) -> None:
    trim = ["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"]
    include = f"--include={','.join(PACKAGES)}"
    run(["mmdebstrap", "--quiet", "--variant=minbase", include, *trim, suite, str(root)], timeout=1800)
    for name, text in _FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "sbin/lab-init").chmod(0o755)
    (root / "etc/sudoers.d/deploy").chmod(0o440)
    run(["chroot", str(root), "useradd", "--create-home", "--shell", "/bin/bash", "deploy"])
    run(["chroot", str(root), "systemctl", "disable", *SERVICES])
    run(["chroot", str(root), "systemctl", "mask", *QUIET])
    run(["chroot", str(root), "systemctl", "enable", "ssh.service"])
    for key in root.glob("etc/ssh/ssh_host_*"):
        key.unlink()  # every server gets a key of its own
    for name in ("etc/machine-id", "var/lib/dbus/machine-id"):
        (root / name).unlink(missing_ok=True)
    (root / "etc/resolv.conf").write_text("")
    for directory in ("root/.ssh", "home/deploy/.ssh"):
        (root / directory).mkdir(mode=0o700, exist_ok=True)
    run(["chroot", str(root), "chown", "deploy:deploy", "/home/deploy/.ssh"])


def _suite() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise DynoctlError("The lab builds Debian servers from this machine's own package sources; it is no Debian")


def sweep() -> None:
    """Remove what a killed build left."""
    with suppress(OSError), (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for stale in CACHE.glob("new-*"):
            shutil.rmtree(stale, ignore_errors=True)


def _in_use(root: Path) -> bool:
    return str(root) in Path("/proc/mounts").read_text()
