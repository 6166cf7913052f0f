"""The Debian root filesystems that the servers of all labs share. Each is built once per release and cached."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab import repository, sources, state
from infra.lab.run import run

CACHE = Path("/var/cache/dynoctl-lab")

RECIPE = 3
"""Increment it with every change of ``build``. Changes of the tables below are detected automatically."""

BARE = ("systemd", "systemd-sysv", "dbus", "openssh-server", "iproute2", "procps", "sudo")
"""The packages of a bare server, which has no Ruby."""

_SERVICE_PACKAGES = ("postgresql", "mariadb-server", "redis-server", "memcached")
_DATA = ("locales", *_SERVICE_PACKAGES)

PACKAGES = (
    *(*BARE, "locales"),
    *("ruby", "ruby-bundler", "bundler", "thin", "puma", "unicorn", "ruby-rack", "ruby-sinatra", "ruby-rails"),
    *("ruby-grape", "ruby-pg", "ruby-mysql2", "ruby-redis", "ruby-dalli", "ruby-sqlite3"),
    *_SERVICE_PACKAGES,
    *("nginx", "haproxy", "caddy"),
    *("curl", "docker-registry"),
)
"""The packages of a server: sshd, systemd, Ruby, routers, curl and a registry. In the release of the local machine, the
services are installed on all, and run on ``data``."""

STORES = ("docker-registry",)
"""Packages of stores of slugs. Their services run only where they are started."""

SERVICES = ("postgresql", "mariadb", "redis-server", "memcached")

ROUTERS = ("nginx", "haproxy", "caddy")
"""Packages whose own services are disabled, because dynoctl only uses their programs."""

ABSENT = {"trixie": ("ruby-grape",)}
"""Packages that a release does not have."""

LOCALE = ("tr_TR", "UTF-8")
"""A locale that differs from English in letters, messages and rules, to test that it has no effect."""

QUIET = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"),
    *("e2scrub_reap.service", "fstrim.timer", "logrotate.timer", "systemd-timesyncd.service"),
    *("systemd-modules-load.service", "systemd-networkd.service", "systemd-networkd-wait-online.service"),
    *("systemd-resolved.service",),
    *("console-getty.service", "getty@.service", "getty.target", "systemd-pstore.service"),
    *("systemd-random-seed.service", "systemd-update-utmp.service", "systemd-logind.service"),
    *("thin.service", "unicorn.service"),
)
"""Units that are masked, so that a server boots in a second."""

LOOPS = 256
"""The number of loop device nodes of a server. The devices are those of the local machine."""

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
cp -a /usr/lib/lab/dev/. /dev/
# From version 256 on, systemd does not use cgroup v1 unless it is told to.
[ ! -d /sys/fs/cgroup/cpu ] || ! . /etc/os-release || [ "$VERSION_ID" -lt 13 ] ||
  export SYSTEMD_PROC_CMDLINE="systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"
exec /lib/systemd/systemd
""",
}


def ensure(release: str, say: Callable[[str], None]) -> Path:
    """The path of the root of a release. It is built if it is missing. Safe against kills and concurrent runs."""
    packages = _packages(release)
    recipe = repr((RECIPE, release, packages, SERVICES, ROUTERS, STORES, LOCALE, QUIET, LOOPS, sorted(_FILES.items())))
    root = CACHE / f"root-{release}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    if root.is_dir():
        return root
    CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _locked():
        if root.is_dir():
            return root
        used = _in_use()
        for stale in [*_others("root", release), *CACHE.glob("new-*")]:
            if str(stale) not in used:
                shutil.rmtree(stale)
        say(f"Building the root filesystem of {release} servers from Debian packages (once, takes 1 to 2 minutes) ...")
        work = CACHE / f"new-{os.getpid()}"
        work.mkdir()
        try:
            build(release, work, packages)
            (work / "root").rename(root)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return root


def ensure_bare(release: str, say: Callable[[str], None]) -> Path:
    """The directory for bare servers: ``root``, and ``repository`` with the packages that are not installed."""
    wanted = [package for package in _packages(release) if package not in (*BARE, *_DATA)]
    recipe = repr((RECIPE, release, BARE, wanted, QUIET, LOOPS, sorted(_FILES.items())))
    made = CACHE / f"bare-{release}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    if made.is_dir():
        return made
    with _locked():
        if made.is_dir():
            return made
        used = _in_use()
        for stale in _others("bare", release):
            if str(stale / "root") not in used:
                shutil.rmtree(stale)
        say(f"Building the root filesystem and the package repository of bare {release} servers (once) ...")
        work = CACHE / f"new-{os.getpid()}"
        (work / "made/repository").mkdir(parents=True)
        try:
            build(release, work / "made", BARE, wanted)
            for scrap in ("apt.conf", "host.list", "host.sources"):
                (work / "made" / scrap).unlink(missing_ok=True)
            repository.index(work / "made/repository")
            (work / "made").rename(made)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return made


def _packages(release: str) -> tuple[str, ...]:
    """The packages of the servers of a release. ``data`` runs the release of the local machine."""
    left_out = (*ABSENT.get(release, ()), *(_SERVICE_PACKAGES if release != sources.suite() else ()))
    return tuple(package for package in PACKAGES if package not in left_out)


def _others(kind: str, release: str) -> list[Path]:
    """What was built for this release before, and by versions of this program that knew one release only."""
    return [*CACHE.glob(f"{kind}-{release}-*"), *CACHE.glob(f"{kind}-{'[0-9a-f]' * 16}")]


def sweep() -> None:
    """Remove the files of killed builds."""
    with suppress(OSError), _locked(wait=False):
        for stale in CACHE.glob("new-*"):
            shutil.rmtree(stale, ignore_errors=True)


@contextmanager
def _locked(*, wait: bool = True) -> Iterator[None]:
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def build(release: str, work: Path, packages: Sequence[str], fetch: Sequence[str] = ()) -> None:
    """Build ``root`` in ``work``. The packages of ``fetch`` are only downloaded, to ``repository`` next to it."""
    root = work / "root"
    (work / "apt.conf").write_text(sources.options())
    entries = sources.write(release, sources.suite(), work)
    _debootstrap(release, root, work / "apt.conf", entries, packages, fetch)
    for name, text in _FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "sbin/lab-init").chmod(0o755)
    (root / "etc/sudoers.d/deploy").chmod(0o440)
    if "locales" in packages:
        run(["chroot", str(root), "localedef", "-i", LOCALE[0], "-f", LOCALE[1], ".".join(LOCALE)])
    run(["chroot", str(root), "useradd", "--create-home", "--shell", "/bin/bash", "deploy"])
    installed = [
        name for name in (*SERVICES, *ROUTERS, *STORES) if (root / f"lib/systemd/system/{name}.service").exists()
    ]
    if installed:
        run(["chroot", str(root), "systemctl", "disable", *installed])
    run(["chroot", str(root), "systemctl", "mask", *QUIET])
    run(["chroot", str(root), "systemctl", "enable", "ssh.service"])
    for key in root.glob("etc/ssh/ssh_host_*"):
        key.unlink()  # every server gets its own key
    for name in ("etc/machine-id", "var/lib/dbus/machine-id"):
        (root / name).unlink(missing_ok=True)
    # The servers have no route out, and must not get the mirrors and proxies (with passwords) of the local machine.
    for file in [*root.glob("etc/apt/sources.list*"), *root.glob("etc/apt/apt.conf.d/99mmdebstrap")]:
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    (root / "etc/resolv.conf").write_text("")
    for directory in ("root/.ssh", "home/deploy/.ssh"):
        (root / directory).mkdir(mode=0o700, exist_ok=True)
    run(["chroot", str(root), "chown", "deploy:deploy", "/home/deploy/.ssh"])
    nodes = root / "usr/lib/lab/dev"
    nodes.mkdir(parents=True)
    for number in range(LOOPS):
        os.mknod(nodes / f"loop{number}", 0o600 | stat.S_IFBLK, os.makedev(7, number))


def _debootstrap(
    release: str, root: Path, options: Path, entries: list[str], packages: Sequence[str], fetch: Sequence[str]
) -> None:
    # In separate namespaces: if this program is killed, the build and its mounts end, too.
    isolated = [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "unshare",
        "--mount",
        "--pid",
        "--mount-proc",
        "--fork",
        "--kill-child",
    ]
    trim = ["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"]
    arguments = ["--quiet", "--variant=minbase", f"--include={','.join(packages)}", f"--aptopt={options}", *trim]
    if fetch:
        apt = (
            'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get --yes --quiet --no-install-recommends --download-only install'
        )
        arguments += [f"--customize-hook={apt} {' '.join(fetch)}"]
        arguments += [f'--customize-hook=cp "$1"/var/cache/apt/archives/*.deb {root.parent}/repository/']
    try:
        run([*isolated, "mmdebstrap", *arguments, release, str(root), *entries], timeout=1800)
    except DynoctlError as error:
        raise DynoctlError("cannot build the root filesystem of the servers: mmdebstrap failed", error.hint) from None


def _in_use() -> set[str]:
    """The roots that labs use, running or not."""
    found = {line.partition("lowerdir=")[2].partition(",")[0] for line in Path("/proc/mounts").read_text().splitlines()}
    for name in state.names():
        lab = state.load(name)
        found |= {server.root for server in lab.servers.values()} if lab else set()
    return found
