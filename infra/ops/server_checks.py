"""What doctor checks on a server itself: its clock, disks, memory, kernel, sshd, packages and access control."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from infra.model import answer
from infra.model.listening import LISTENER
from infra.model.provider import Fragment
from infra.ops.sudoers_rules import DIGESTS
from infra.remote.read_only import PATH as OBSERVER

MIB = 1024 * 1024


@dataclass(frozen=True)
class Disk:
    """The file system of a directory: free bytes, and free inodes (None if it does not count them). ``full``: no file
    can be made, for want of space."""

    path: str
    free: int
    inodes: int | None
    writable: bool
    full: bool = False


@dataclass(frozen=True)
class Packages:
    """The state of dpkg: who holds its lock (such as ``4711 unattended-upgr``), whether it was interrupted, and the
    proxy of apt. All of it is "" or False if there is nothing to say."""

    lock: str = ""
    interrupted: bool = False
    proxy: str = ""


@dataclass(frozen=True)
class Checkup:
    """``clock`` is the server's time in seconds since 1970, ``controllers`` are cgroup controllers, ``memory`` is in
    MiB."""

    system: str
    clock: float
    controllers: frozenset[str]
    loop: bool
    memory: int
    disks: tuple[Disk, ...] = ()
    log: str = "loaded"
    """The state of the unit that starts the journals of apps: ``loaded``, ``masked`` or ``not-found``."""
    synchronised: bool | None = None
    """Whether the clock is synchronised; None if that is not known, as in a container."""
    sessions: int | None = None
    """MaxSessions of sshd for this login; None if sshd does not say."""
    startups: str = ""
    """MaxStartups of sshd."""
    links: Mapping[str, str] = field(default_factory=dict)
    """The directories that are links, and where they lead."""
    read_only: frozenset[str] = frozenset()
    """Those of ``/usr`` and ``/`` that cannot be written to, the latter only if /app does not exist."""
    enforcing: tuple[str, ...] = ()
    """The access controls of the kernel that are enforced: ``SELinux``, ``AppArmor``."""
    packages: Packages = Packages()
    observer: str = ""
    """The sha256 of the program for read-only logins, in hex; "" if it is not installed."""
    rules: tuple[str, ...] = ()
    """The digests with which sudo rules allow it, as they are written there."""
    outgoing: tuple[int, int] | None = None
    """The first and last port that the kernel gives to outgoing connections; None if that is not known."""
    reserved: tuple[tuple[int, int], ...] = ()
    """The ranges of ports within ``outgoing`` that it never gives to them."""
    listeners: tuple[tuple[str, int], ...] = ()
    """The address, as ``infra.model.listening`` has it, and the port of each TCP socket that listens."""


def fragment(app: str, user: str = "root") -> Fragment:
    """The sh fragment whose output ``parse`` reads. ``user`` is the login."""
    return Fragment(_SCRIPT, {"login": user, "observer": OBSERVER.format(app=app)})


def later() -> Fragment:
    """A fragment that prints the server's time once more, after everything else."""
    return Fragment("date +%s.%N\n")


# Some of the directories may not exist yet; their parents are on the same file system.
_SCRIPT = (
    f"{DIGESTS}"
    """\
printf 'clock '; date +%s.%N
printf 'system '; ( . /etc/os-release && printf '%s\\n' "$PRETTY_NAME" ) 2>/dev/null || echo
printf 'controllers '
cat /sys/fs/cgroup/cgroup.controllers 2>/dev/null || {
  while read -r name _ _ on; do [ "$on" = 1 ] && printf '%s ' "$name"; done < /proc/cgroups; echo
}
loop=no
{ [ -e /dev/loop-control ] || modprobe -nq loop; } 2>/dev/null && loop=yes
printf 'log '; systemctl show -p LoadState --value systemd-journald@dynoctl.service
printf 'loop %s\\n' "$loop"
while read -r key value _; do [ "$key" = MemTotal: ] && printf 'memory %s\\n' "$value" && break; done < /proc/meminfo
for path in /var/lib /var/lib/dynoctl /srv /etc /run; do
  # Only if it is a file system of its own.
  [ "$path" != /var/lib/dynoctl ] || mountpoint -q "$path" 2>/dev/null || continue
  free=$(df -Pk "$path" 2>/dev/null | awk 'NR == 2 { print $4 }')
  inodes=$(df -Pi "$path" 2>/dev/null | awk 'NR == 2 && $2 > 0 { print $4 }')
  new=$path/.dynoctl.$$
  said=$( ( : > "$new" ) 2>&1 ) && rm -f "$new" && may=yes || may=no
  case $may$said in no*"No space left on device"*|no*"Disk quota exceeded"*) may=full;; esac
  printf 'disk %s %s %s %s\\n' "$path" "${free:--}" "${inodes:--}" "$may"
done
if [ -e "$observer" ]; then
  sum=$(sha256sum < "$observer" 2>/dev/null); printf 'observer %s\\n' "${sum%% *}"
  digests "$observer" | while read -r digest; do printf 'rule %s\\n' "$digest"; done
fi
for path in /srv /var /var/lib /etc /tmp /home /run; do
  [ ! -L "$path" ] || printf 'link %s %s\\n' "$path" "$(readlink -m "$path")"
done
[ -w /usr ] || echo 'read-only /usr'
# The root directory of an image-based system cannot be changed although its file system can.
if [ ! -d /app ]; then
  case $([ -w / ] || echo ---i; lsattr -d / 2>/dev/null) in ????i*|---i*) echo 'read-only /';; esac
fi
# Byte by byte, as read reads, these files end after the first.
printf 'outgoing %s\\n' "$(cat /proc/sys/net/ipv4/ip_local_port_range 2>/dev/null)"
printf 'reserved %s\\n' "$(cat /proc/sys/net/ipv4/ip_local_reserved_ports 2>/dev/null)"
# In a container, the clock is the host's.
if [ "$(systemd-detect-virt -c 2>/dev/null)" = none ]; then
  printf 'ntp '; timeout 5 timedatectl show -p NTPSynchronized --value 2>/dev/null || echo
fi
grep -hs ' 0A ' /proc/net/tcp /proc/net/tcp6
set -- $connection
if [ $# -eq 4 ]; then
  timeout 5 sshd -T -C "user=$login,host=$1,addr=$1,laddr=$3,lport=$4" 2>/dev/null |
    sed -n -e 's/^maxsessions /sessions /p' -e 's/^maxstartups /startups /p'
fi
[ -r /sys/fs/selinux/enforce ] && read -r on < /sys/fs/selinux/enforce && [ "$on" = 1 ] && echo 'enforcing SELinux'
[ -r /sys/module/apparmor/parameters/enabled ] && read -r on < /sys/module/apparmor/parameters/enabled &&
  [ "$on" = Y ] && grep -qs '(enforce)' /sys/kernel/security/apparmor/profiles && echo 'enforcing AppArmor'
[ -x /usr/bin/dpkg ] || exit 0
set -- /var/lib/dpkg/updates/[0-9]*
if [ -e "$1" ] || grep -qsE '^Status: .* (half-installed|unpacked|half-configured)$' /var/lib/dpkg/status; then
  echo 'dpkg interrupted'
fi
inode=$(stat -c %i /var/lib/dpkg/lock-frontend 2>/dev/null)
while [ -n "$inode" ] && read -r _ kind _ _ pid file _; do
  [ "$kind ${file##*:}" = "POSIX $inode" ] || continue
  name=; { read -r name < "/proc/$pid/comm"; } 2>/dev/null && printf 'dpkg lock %s %s\\n' "$pid" "$name"
done < /proc/locks
apt-config dump --format '%v%n' Acquire::http::Proxy 2>/dev/null |
  sed -n '1s#^\\([a-z0-9]*://\\)*.*@#\\1#; 1s/^./proxy &/p'
:
"""
)

_DISK = re.compile(r"disk (?P<path>\S+) (?P<free>[0-9]{1,18}) (?P<inodes>[0-9]{1,18}|-) (?P<may>yes|no|full)")


def parse(output: str) -> Checkup:
    """Parse the output of the fragment. Raises ValueError or KeyError if it is invalid."""
    values: dict[str, str] = {}
    disks: list[Disk] = []
    links: dict[str, str] = {}
    read_only: set[str] = set()
    enforcing: list[str] = []
    rules: list[str] = []
    listeners: dict[tuple[str, int], None] = {}
    for line in output.splitlines():
        if found := _DISK.fullmatch(line):
            inodes = None if found["inodes"] == "-" else int(found["inodes"])
            may = found["may"]
            disks.append(Disk(found["path"], int(found["free"]) * 1024, inodes, may == "yes", may == "full"))
        key, _, rest = line.partition(" ")
        if listener := LISTENER.match(line):
            listeners[listener["address"], int(listener["port"], 16)] = None
        elif key == "link":
            path, _, target = rest.partition(" ")
            links[path] = target
        elif key == "read-only":
            read_only.add(rest)
        elif key == "rule":
            rules.append(rest)
        elif key == "enforcing":
            enforcing.append(rest)
        elif key == "dpkg":
            key, _, rest = rest.partition(" ")
            values.setdefault(f"dpkg {key}", rest)
        else:
            values[key] = rest
    return Checkup(
        system=values["system"],
        clock=answer.decimal(values["clock"]),
        controllers=frozenset(values["controllers"].split()),
        loop=values["loop"] == "yes",
        memory=int(answer.decimal(values["memory"])) // 1024,
        disks=tuple(disks),
        log=values.get("log", "") or "unknown",
        synchronised={"yes": True, "no": False}.get(values.get("ntp", "")),
        sessions=answer.digits(values.get("sessions", "")),
        startups=values.get("startups", "")[:40],
        links=links,
        read_only=frozenset(read_only),
        enforcing=tuple(enforcing),
        packages=Packages(values.get("dpkg lock", ""), "dpkg interrupted" in values, values.get("proxy", "")),
        observer=values.get("observer", ""),
        rules=tuple(rules),
        outgoing=next(_ranges("-".join(values.get("outgoing", "").split())), None),
        reserved=tuple(_ranges(values.get("reserved", ""))),
        listeners=tuple(listeners),
    )


def _ranges(text: str) -> Iterator[tuple[int, int]]:
    """The ranges of ports in a list such as ``5000-5999,7007``. What is invalid is left out."""
    for word in text.split(","):
        first, dash, last = word.strip().partition("-")
        low, high = answer.digits(first), answer.digits(last if dash else first)
        if low is not None and high is not None:
            yield low, high
