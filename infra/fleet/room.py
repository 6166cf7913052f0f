"""What a server has left for a release: free space and files where an app's files go, and memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from infra.model import answer, paths
from infra.model.resource import Command
from infra.model.text import quantity

FILES = 256 * 1024
"""Bytes that units, config vars, backups and records take, besides the slug."""

BLOCK = 16 * 1024
"""Bytes that the directories on which a new slug is mounted take."""

PROCESS = 32 * 2**20
"""Bytes of memory without which no process of an app boots."""


@dataclass(frozen=True)
class Room:
    """Free bytes and free files by path (files: None if the file system has no limit), and free bytes of memory."""

    disks: dict[str, tuple[int, int | None]]
    memory: int | None

    def lacks(self, app: str, slug: int, processes: int) -> Iterator[str]:
        """What is missing for a slug of ``slug`` bytes (0: it is not sent) and for new processes."""
        for path, (free, inodes) in self.disks.items():
            if path == paths.mounts(app):
                need = BLOCK if slug else 0
            else:
                need = FILES + (slug if path == paths.home(app) else 0)
            if free < need:
                yield f"{path}: no space left on device: {_mib(free)} free, {_mib(need)} needed"
            elif inodes == 0 and need:
                yield f"{path}: no space left on device: no free inodes"
        need = processes * PROCESS
        if self.memory is not None and self.memory < need:
            yield f"{_mib(self.memory)} of memory available, {_mib(need)} needed to boot {quantity(processes, 'dyno')}"


def look(app: str) -> Command:
    """The command whose output ``parse`` reads."""
    argv = ("sh", "-c", _SCRIPT, "room", paths.home(app), paths.UNITS, "/run", paths.mounts(app))
    return Command(argv, quiet=True, label="check disk and memory")


def parse(output: str) -> Room:
    """Parse the output of the command. Lines that cannot be parsed are left out."""
    disks: dict[str, tuple[int, int | None]] = {}
    memory: int | None = None
    for line in output.splitlines():
        kind, *words = line.split(" ")
        numbers = [number for word in words[:4] if (number := answer.digits(word)) is not None]
        if kind == "memory" and len(numbers) == len(words):
            memory = (memory or 0) + sum(number * 1024 for number in numbers)
        elif kind == "disk" and len(words) > 4 and len(numbers) == 4:
            blocks, size, inodes, total = numbers
            disks[" ".join(words[4:])] = (blocks * size, inodes if total else None)
    return Room(disks, memory)


def _mib(size: int) -> str:
    return f"{size / 2**10:.0f} KiB" if 0 < size < 2**20 / 10 else f"{size / 2**20:.1f} MiB"


# The free blocks of root: ``df`` would leave out those that are reserved for it.
_SCRIPT = """\
for path; do
  at=$path
  while [ ! -e "$at" ]; do at=${at%/*}; at=${at:-/}; done
  numbers=$(stat -f -c '%b %f %S %d %c' "$at")
  # One that does not know its size, such as some of FUSE, has no free blocks either.
  case $numbers in '0 '*) continue;; esac
  printf 'disk %s %s\n' "${numbers#* }" "$path"
done
while read -r key value _; do
  case $key in MemAvailable:|SwapFree:) printf 'memory %s\n' "$value";; esac
done < /proc/meminfo
:
"""
