"""dynoctl in a real pseudo-terminal: what a person at the keyboard sees and types."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping
from pathlib import Path

from tests.lab.support import DYNOCTL, WAIT, Project


class Terminal:
    """One command of a project, run in a terminal of its own."""

    def __init__(
        self,
        project: Project,
        *argv: str,
        size: tuple[int, int] = (80, 24),
        kind: str = "xterm-256color",
        program: Path = DYNOCTL,
    ) -> None:
        project.write()
        self._master, slave = pty.openpty()
        self.resize(*size)
        self.before = self.after = termios.tcgetattr(slave)
        self._process = subprocess.Popen(
            [program, *argv],
            cwd=project.directory,
            env={**_without_size(os.environ), **project.environment, "TERM": kind},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.text = ""

    def wait_for(self, words: str, seconds: float = WAIT) -> None:
        """Read until ``words`` are on the screen."""
        deadline = time.monotonic() + seconds
        while words not in self.text:
            assert self._read(deadline), f"{words!r} did not come:\n{self.text}"

    def say(self, line: str) -> None:
        """Type a line."""
        os.write(self._master, f"{line}\n".encode())

    def press(self, keys: str) -> None:
        """Type keys as they are, without an end of line: ``\x03`` is Ctrl-C where the program has the terminal."""
        os.write(self._master, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Drag the window's corner."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def raw(self) -> bool:
        """Whether keys go through as they are, and nothing is echoed here."""
        return not termios.tcgetattr(self._master)[3] & (termios.ECHO | termios.ICANON)

    @property
    def pid(self) -> int:
        return self._process.pid

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.kill(self._process.pid, signal.SIGINT)

    def end(self) -> tuple[str, int]:
        """Read until it ends; everything that it printed, and its exit status. ``after`` is how it left the terminal."""
        deadline = time.monotonic() + 3 * WAIT
        while self._read(deadline):
            pass
        code = self._process.wait(timeout=WAIT)
        self.after = termios.tcgetattr(self._master)
        os.close(self._master)
        self._master = -1
        return self.text, code

    def kill(self) -> None:
        """End it whatever it does, at the end of a test that failed."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says EIO when the other side is closed
            return False
        self.text += data.decode(errors="replace")
        return bool(data)


def _without_size(environment: Mapping[str, str]) -> dict[str, str]:
    """Environment variables without a size of the terminal, which would count more than its own. pytest-xdist sets it."""
    return {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}
