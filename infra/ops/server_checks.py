"""What doctor checks on a server itself: disks, clock, memory, control groups and loop devices."""

from __future__ import annotations

import re
from dataclasses import dataclass

from infra.model import answer
from infra.model.provider import Fragment

MIB = 1024 * 1024


@dataclass(frozen=True)
class Disk:
    """The file system of a directory: free bytes, and free inodes (None if it does not count them)."""

    path: str
    free: int
    inodes: int | None
    writable: bool


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


def fragment() -> Fragment:
    """The sh fragment whose output ``parse`` reads."""
    return Fragment(_SCRIPT)


# Some of the directories may not exist yet; their parents are on the same file system.
_SCRIPT = """\
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
for path in /var/lib /srv /etc /run; do
  free=$(df -Pk "$path" 2>/dev/null | awk 'NR == 2 { print $4 }')
  inodes=$(df -Pi "$path" 2>/dev/null | awk 'NR == 2 && $2 > 0 { print $4 }')
  new=$path/.dynoctl.$$
  ( : > "$new" ) 2>/dev/null && rm -f "$new" && may=yes || may=no
  printf 'disk %s %s %s %s\\n' "$path" "${free:--}" "${inodes:--}" "$may"
done
:
"""

_DISK = re.compile(r"disk (?P<path>\S+) (?P<free>[0-9]{1,18}) (?P<inodes>[0-9]{1,18}|-) (?P<may>yes|no)")


def parse(output: str) -> Checkup:
    """Parse the output of the fragment. Raises ValueError or KeyError if it is invalid."""
    values: dict[str, str] = {}
    disks = []
    for line in output.splitlines():
        if found := _DISK.fullmatch(line):
            inodes = None if found["inodes"] == "-" else int(found["inodes"])
            disks.append(Disk(found["path"], int(found["free"]) * 1024, inodes, found["may"] == "yes"))
        key, _, rest = line.partition(" ")
        values[key] = rest
    return Checkup(
        system=values["system"],
        clock=answer.decimal(values["clock"]),
        controllers=frozenset(values["controllers"].split()),
        loop=values["loop"] == "yes",
        memory=int(answer.decimal(values["memory"])) // 1024,
        disks=tuple(disks),
        log=values.get("log", "") or "unknown",
    )
