"""What a command costs: the CPU time and the memory of all its processes."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

EVERY = 0.3
"""Seconds between two looks at the memory."""

_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of prctl(2)."""


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds of CPU time and of wall time, and at its most the bytes of memory of all its
    processes together and their number."""

    cpu: float
    wall: float
    memory: int
    processes: int
    output: str


def run(argv: Sequence[str | Path], directory: Path, *, codes: Sequence[int] = (0, 2), **environment: str) -> Cost:
    """Run a command as a process of its own. All that it starts counts, also what outlives it, such as the connections
    that Ansible keeps open: that is ended with it."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)  # what loses its parent becomes a child of this process
    before = set(_children(os.getpid()))
    with tempfile.TemporaryFile() as out:
        began = time.monotonic()
        process = subprocess.Popen(
            argv, cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **environment}
        )
        watch = _Watch(process.pid, before)
        watch.start()
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        watch.ended.set()
        watch.join()
        cpu = used.ru_utime + used.ru_stime
        for left in set(_children(os.getpid())) - before - {process.pid}:
            with suppress(ProcessLookupError):
                os.kill(left, signal.SIGTERM)
            _, _, rest = os.wait4(left, 0)
            cpu += rest.ru_utime + rest.ru_stime
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode(errors="replace")
    if process.returncode not in codes:
        words = " ".join(map(str, argv))[:300]
        raise SystemExit(f"{words}: exit status {process.returncode}\n{text[-2000:]}")
    return Cost(cpu, wall, max(watch.memory, used.ru_maxrss << 10), watch.processes, text)


class _Watch(threading.Thread):
    """Looks at the memory of a process and of all that it started. Pages that several share count once."""

    def __init__(self, pid: int, others: set[int]) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.memory = self.processes = 0
        self._pid, self._others = pid, others

    def run(self) -> None:
        while not self.ended.wait(EVERY):
            pids = _tree(self._pid)
            for left in set(_children(os.getpid())) - self._others - {self._pid}:
                pids |= _tree(left)
            self.memory = max(self.memory, sum(map(_proportional, pids)))
            self.processes = max(self.processes, len(pids))


def _tree(pid: int) -> set[int]:
    found, waiting = set[int](), [pid]
    while waiting:
        found.add(one := waiting.pop())
        waiting += [child for child in _children(one) if child not in found]
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found


def _proportional(pid: int) -> int:
    """The proportional set size of a process in bytes; 0 if it has ended."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0
