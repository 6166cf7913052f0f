"""What a server is apart from dynoctl's own things: its disk, its clock, its control groups, its loop devices."""

from __future__ import annotations

import re
from dataclasses import dataclass

from infra.model.provider import Fragment

MIB = 1024 * 1024


@dataclass(frozen=True)
class Disk:
    """The file system under a directory: bytes and inodes that are free (inodes None where it does not count them)."""

    path: str
    free: int
    inodes: int | None
    writable: bool


@dataclass(frozen=True)
class Checkup:
    """``clock`` is the server's, in seconds since 1970; ``controllers`` are those of its control groups, ``memory`` is
    in MiB."""

    system: str
    clock: float
    controllers: frozenset[str]
    loop: bool
    memory: int
    disks: tuple[Disk, ...] = ()


def fragment() -> Fragment:
    """The sh fragment whose output ``parse`` reads."""
    return Fragment(_SCRIPT)


# Where a directory is not there yet, the one above it says how much room there will be.
_SCRIPT = """\
printf 'clock '; date +%s.%N
printf 'system '; ( . /etc/os-release && printf '%s\\n' "$PRETTY_NAME" ) 2>/dev/null || echo
printf 'controllers '
cat /sys/fs/cgroup/cgroup.controllers 2>/dev/null || {
  while read -r name _ _ on; do [ "$on" = 1 ] && printf '%s ' "$name"; done < /proc/cgroups; echo
}
loop=no
{ [ -e /dev/loop-control ] || modprobe -nq loop; } 2>/dev/null && loop=yes
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

_DISK = re.compile(r"disk (?P<path>\S+) (?P<free>\d+) (?P<inodes>\d+|-) (?P<may>yes|no)")


def parse(output: str) -> Checkup:
    """Read what the fragment printed. Raises ValueError or KeyError where it makes no sense."""
    said: dict[str, str] = {}
    disks = []
    for line in output.splitlines():
        if found := _DISK.fullmatch(line):
            inodes = None if found["inodes"] == "-" else int(found["inodes"])
            disks.append(Disk(found["path"], int(found["free"]) * 1024, inodes, found["may"] == "yes"))
        word, _, rest = line.partition(" ")
        said[word] = rest
    return Checkup(
        system=said["system"],
        clock=float(said["clock"]),
        controllers=frozenset(said["controllers"].split()),
        loop=said["loop"] == "yes",
        memory=int(said["memory"]) // 1024,
        disks=tuple(disks),
    )
