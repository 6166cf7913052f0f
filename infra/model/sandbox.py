"""The sandbox: the systemd settings of every unit that runs anything of an app or for one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv6Network

from infra.manifest.model import Network
from infra.model import landlock, paths

_RUN_SYSTEMD = "/run/systemd"

# What a process of an app needs of it: to look up names of hosts, and the name of its own user. To log, it has the
# sockets of its app's journal, which systemd adds. The rest says which units there are, with their command lines, or
# speaks to systemd.
_KEPT = tuple(f"-{_RUN_SYSTEMD}/{name}" for name in ("resolve", "userdb"))

# What in /proc tells how the server is set up. Each path is a mount more at every start, so what only counts is left:
# processors, memory, load, disks. `ProtectProc=` hides processes, and `ProtectKernelTunables=` symbols and memory.
_PROC = ("cmdline", "config.gz", "key-users", "keys", "locks", "modules")

_HIDDEN = (
    paths.HIDDEN,
    "-/run/dbus -/run/lock -/run/snapd.socket -/run/snapd-snap.socket",
    # The units of other apps: names, addresses and variables that are no secrets.
    "-/etc/systemd -/srv/dyno -/sys/fs/cgroup",
    # Who logged in. Whoever can read these files can lock them, and a login waits for the lock.
    "-/run/utmp -/var/log",
    # The server has one pool of pseudo-terminals, and a login that finds none fails. The one of a console stays open.
    "-/dev/pts/ptmx",
    " ".join(f"-/proc/{name}" for name in _PROC),
)

_CALLS = (
    # Some versions of systemd do not count those of the launcher among them.
    f"@system-service {landlock.CALLS}",
    # Each line subtracts from the first. A denied call fails with EPERM instead of killing: Ruby tries some and copes.
    "~@privileged @resources @keyring",
    # io_uring does what other calls do, past this filter. The others read other processes' memory or files by handle.
    "~@aio io_uring_enter io_uring_register io_uring_setup",
    "~kcmp name_to_handle_at process_madvise process_vm_readv process_vm_writev userfaultfd",
)

_METADATA = " ".join(
    (
        *("169.254.169.254", "fd00:ec2::254"),  # Amazon, and most others for IPv4
        *("169.254.170.2", "169.254.170.23", "fd00:ec2::23"),  # Amazon's containers
        *("fd20:ce::254", "fe80::a9fe:a9fe"),  # Google, OpenStack
        *("100.100.100.200", "192.0.0.192"),  # Alibaba, Oracle
        *("169.254.42.42", "fd00:42::42"),  # Scaleway
    )
)
"""The addresses at which clouds give out the credentials of a server. Azure has a second one, 168.63.129.16, which is
left out: it resolves names, too."""


def _without(network: str, *taken: str) -> list[str]:
    """A network without parts of it. ``IPAddressAllow=`` wins over ``IPAddressDeny=``, so a part must be cut out."""
    left = [IPv6Network(network)]
    for part in map(IPv6Network, taken):
        around = next(each for each in left if part.subnet_of(each))
        left.remove(around)
        left += around.address_exclude(part)
    return list(map(str, sorted(left)))


# Whole networks of the addresses above are cut out: each bit of a shorter one would be one network more in every unit.
_PRIVATE = (
    *("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    *_without("fe80::/64", "fe80::8000:0/97"),
    *_without("fc00::/7", "fd00:ec2::/32", "fd00:42::/32", "fd20:ce::/32"),
)
_LOCAL = " ".join(_PRIVATE)


def temporary(shm: int = 64 << 20) -> str:
    """The value of ``TemporaryFileSystem=``. ``shm`` is the size of /dev/shm in bytes; the server's is writable by all
    users."""
    return (
        f"/dev/shm:rw,nosuid,nodev,noexec,size={shm},mode=1777\n"  # noqa: S108  # a tmpfs of its own
        f"{_RUN_SYSTEMD}:ro,nosuid,nodev,noexec,size=64k,mode=0755"
    )


SANDBOX: dict[str, str] = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    # The other settings imply it; an offline rating of the unit knows it only if it is said.
    "PrivateMounts": "yes",
    "PrivateUsers": "yes",
    "PrivateIPC": "yes",
    "RemoveIPC": "yes",
    "ProtectProc": "invisible",
    "ProcSubset": "all",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "LockPersonality": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "\n".join(_CALLS),
    "SystemCallErrorNumber": "EPERM",
    "DevicePolicy": "closed",
    "KeyringMode": "private",
    # A memory dump has secrets of the app, and the server may keep it, readable by the next owner of the uid.
    "LimitCORE": "0",
    "TemporaryFileSystem": temporary(),
    "BindReadOnlyPaths": " ".join(_KEPT),
    "InaccessiblePaths": "\n".join(_HIDDEN),
    "UMask": "0077",
}
"""Directives of ``[Service]``, scored by ``systemd-analyze security``; see docs/explanation/security.md."""

HELPER: dict[str, str] = {
    **{key: value for key, value in SANDBOX.items() if key not in ("TemporaryFileSystem", "BindReadOnlyPaths")},
    "InaccessiblePaths": "-/run/dbus -/run/lock",
    "PrivateNetwork": "yes",
    "RestrictAddressFamilies": "AF_UNIX",
    "MemoryDenyWriteExecute": "yes",
    "MemoryMax": "64M",
    "TasksMax": "16",
}
"""For root's own programs in units beside an app's. They have no network, and reach systemd through its own socket."""

BUILD: dict[str, str] = {
    **SANDBOX,
    "IPAddressDeny": _METADATA,
    "MemoryMax": "75%",
    "MemorySwapMax": "0",
    "TasksMax": "512",
    "LimitNOFILE": "65536",
    "CPUWeight": "20",
}
"""For a build: it compiles, and may fetch gems from the network."""

ROUTER: dict[str, str] = {
    **SANDBOX,
    "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE",
    "AmbientCapabilities": "CAP_NET_BIND_SERVICE",
    "PrivateUsers": "no",  # or the capability would not count
    # It sets its own limits, and tells systemd when it is ready.
    "SystemCallFilter": "\n".join((_CALLS[0], _CALLS[1].replace(" @resources", ""), *_CALLS[2:])),
    "BindReadOnlyPaths": f"{SANDBOX['BindReadOnlyPaths']} -{_RUN_SYSTEMD}/journal -{_RUN_SYSTEMD}/notify",
}
"""For a router: it listens on ports below 1024."""

LOCALE = (
    *("LC_ALL", "LANGUAGE", "LC_CTYPE", "LC_NUMERIC", "LC_TIME", "LC_COLLATE", "LC_MONETARY", "LC_MESSAGES"),
    *("LC_PAPER", "LC_NAME", "LC_ADDRESS", "LC_TELEPHONE", "LC_MEASUREMENT", "LC_IDENTIFICATION"),
)
"""Variables that systemd passes to every service if the server has a locale (locale.conf(5)); only ``LANG`` is set for
all dynos."""


def unset(environment: Collection[str]) -> str:
    """The value of ``UnsetEnvironment=`` that leaves the server's locale out of a process with ``environment``."""
    return " ".join(name for name in LOCALE if name not in environment)


SINCE: dict[str, int] = {"PrivateIPC": 248, "SocketBindDeny": 250, "SocketBindAllow": 250}
"""Settings that versions of systemd from 247 on do not all know. A unit file may have them; ``systemd-run`` fails."""


def network(reach: Network = "all", *, metadata: bool = False, ports: Sequence[int] = ()) -> dict[str, str]:
    """The settings of what a process of an app reaches, and on which TCP ports it may listen.

    Without BPF in its kernel, or on an older version, systemd ignores all but ``PrivateNetwork=``."""
    settings = {"SocketBindDeny": "tcp"}
    if ports:
        settings["SocketBindAllow"] = "\n".join(f"tcp:{port}" for port in ports)
    if reach == "none":
        return {**settings, "PrivateNetwork": "yes"}
    if reach == "local":
        settings |= {"IPAddressDeny": "any", "IPAddressAllow": f"{_LOCAL} {_METADATA}" if metadata else _LOCAL}
    elif not metadata:
        settings["IPAddressDeny"] = _METADATA
    return settings


def joined(*settings: Mapping[str, str]) -> dict[str, str]:
    """Settings of which later ones are added to lists of mounts and paths, and otherwise override earlier ones."""
    found: dict[str, str] = {}
    for each in settings:
        for key, value in each.items():
            added = key in _LISTS and found.get(key) and value
            found[key] = f"{found[key]}\n{value}" if added else value
    return found


_LISTS = ("TemporaryFileSystem", "BindReadOnlyPaths", "InaccessiblePaths", "BindPaths")
