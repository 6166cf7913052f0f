"""A root shell on one server that holds an app's lock while its session lives, and runs batches of commands.

The lock is a ``flock`` on a descriptor of that shell: when the session ends, however that happens, the kernel releases
it. A silently cut network does not end the session, so a second channel carries a heartbeat. If it stops for
``PATIENCE`` seconds, the server kills the shell, which releases the lock, and this side sends nothing more.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from infra.errors import DynoctlError, Unreachable
from infra.model import job_failure
from infra.model.answer import reading
from infra.model.provider import Fragment
from infra.model.resource import Command
from infra.model.shell import LockTaken, Sections, StepFailed
from infra.remote import limits, lock_scripts
from infra.remote.channel import PIECE, broken
from infra.remote.limits import Tail
from infra.remote.quote import PRELUDE, assign, batch, observation, sections
from infra.remote.session import Session

BEAT = 5
"""Seconds between two heartbeats."""

PATIENCE = 45
"""Seconds without a heartbeat after which either side gives up."""

AGAIN = "check the network and run apply again; it continues from the current state"

START = 60
"""Seconds within which the shell must start. A sudo that cannot resolve the server's name takes 20."""

SHARED_WAIT = 2
"""Seconds that one attempt waits for another app's apply; ``infra.fleet.lock`` decides for how long it is repeated."""


@dataclass
class _Pulse:
    heard: float
    broken: BaseException | None = None
    """Why there will be no other one, if that is known."""


class LockedShell:
    """The lock on one server and the shell that holds it; ``close`` it when done."""

    def __init__(self, session: Session, app: str, holder: str) -> None:
        """Open the shell and start its heartbeat; ``take`` takes the lock. Raises Unreachable."""
        self._session = session
        self._nonce = secrets.token_hex(12)
        self._buffer = bytearray()
        self._step = "a step"
        self._began = False
        self._pulse = _Pulse(time.monotonic())
        self._stop = threading.Event()
        self._heart = session.channel()
        values = {"app": app, "nonce": self._nonce, "patience": str(PATIENCE)}
        try:
            self._heart.sendall((PRELUDE + assign(values) + lock_scripts.HEART).encode())
        except broken() as error:
            raise session.ended(self._heart, error=error) from None
        self._shell = session.channel("the shell", None)  # each exchange has a limit of its own
        values |= {
            "holder": holder,
            "ticks": str(PATIENCE // BEAT),
            "beat_every": str(BEAT),
            "shared_wait": str(SHARED_WAIT),
        }
        self._send(PRELUDE + assign(values) + lock_scripts.OPEN)
        threading.Thread(target=self._beat, daemon=True, name=f"heartbeat {session.name}").start()
        self._answer(START)
        self._began = True

    @property
    def name(self) -> str:
        return self._session.name

    def take(self) -> LockedShell:
        """Take the lock. Raises LockTaken if another apply holds it, and Unreachable if the connection is lost."""
        self._send(lock_scripts.LOCK)
        answer = self._answer(SHARED_WAIT + 15)
        if answer == "locked":
            return self
        self.close()
        state, _, holder = answer.partition(" ")
        app, _, who = holder.partition(" ") if state == "other" else ("", "", holder)
        raise LockTaken(self._session.name, who.strip(), "another app" if app == "-" else app)

    def _answer(self, timeout: float) -> str:
        try:
            return self._line(timeout)
        except DynoctlError:
            self.close()
            raise

    def run(
        self,
        commands: Sequence[Command],
        started: Callable[[Command], None] | None = None,
    ) -> str:
        """Run commands in order up to the first that fails; return their output.

        ``started`` is called before each command. Raises StepFailed, or Unreachable if the connection is lost."""
        if not commands:
            return ""
        nonce = secrets.token_hex(12)
        self._send(batch(commands, nonce))
        printed, everything = Tail(), Tail()
        index = 0
        self._step = _name(commands[0])
        if started is not None:
            started(commands[0])
        deadline = time.monotonic() + sum(command.timeout + 10 for command in commands)
        while True:
            line = self._raw_line(deadline)
            if not line.startswith(nonce):
                printed.add(line)
                continue
            with reading(self.name):
                _, word, status = line.split(" ")
                failed = int(status) != 0
            if word == "end":
                return everything.text()
            output = printed.text().strip("\n")
            everything.add(output)
            printed.clear()
            if failed:
                self._until(f"{nonce} end", deadline)
                raise StepFailed(self._session.name, commands[index], int(status), self._told(commands[index], output))
            index += 1
            if index < len(commands):
                self._step = _name(commands[index])
                if started is not None:
                    started(commands[index])

    def _told(self, command: Command, output: str) -> str:
        """The output of a step that failed. If systemd only says where to read why, that is read."""
        if not job_failure.points_elsewhere(output):
            return output
        try:
            reasons = self.run([job_failure.look(command, output)])
        except StepFailed as error:
            reasons = error.output
        return job_failure.told(output, reasons)

    def observe(self, fragments: Mapping[str, Fragment], timeout: float = 60) -> Sections:
        """Run every fragment in this shell, under the lock. Raises Unreachable if the connection is lost."""
        nonce, end, self._step = secrets.token_hex(12), secrets.token_hex(12), "observation"
        self._send(f"(\n{observation(fragments, nonce)}\n) 8>&- 9>&-\nprintf '\\n%s end\\n' '{end}'\n")
        return sections(self._until(f"{end} end", time.monotonic() + timeout), nonce)

    def forget(self) -> None:
        """Remove the lock's files once nothing of the app is left on the server, and close the shell."""
        self._stop.set()
        self._heart.close()
        self._send(lock_scripts.FORGET)
        self.close()

    def close(self) -> None:
        """Release the lock."""
        self._stop.set()
        for channel in (self._heart, self._shell):  # no heartbeat may arrive after the files are removed
            try:
                channel.shutdown_write()
                if channel is self._shell:
                    channel.settimeout(2)
                    deadline = time.monotonic() + 2
                    # Until the shell has exited, so that the lock is free on return.
                    while channel.recv(PIECE) and time.monotonic() < deadline:
                        pass
                channel.close()
            except broken():
                continue

    def _send(self, text: str) -> None:
        self._check()
        data = text.encode()
        try:
            self._shell.settimeout(PATIENCE)
            for start in range(0, len(data), PIECE):
                self._shell.sendall(data[start : start + PIECE])
        except broken() as error:
            lost = self._session.lost(error) if self._began else self._session.ended(self._shell, error=error)
            raise lost from None

    def _line(self, timeout: float) -> str:
        deadline = time.monotonic() + timeout
        while True:
            line = self._raw_line(deadline)
            if line.startswith(self._nonce):
                return line.removeprefix(self._nonce).strip()

    def _until(self, marker: str, deadline: float) -> str:
        lines, size = [], 0
        while not (line := self._raw_line(deadline)).startswith(marker):
            lines.append(line)
            size += len(line) + 1
            if size > limits.OUTPUT:
                self.close()  # what still comes would be read as the next answer
                raise limits.OutputTooLarge(self._session.name, self._step, limits.OUTPUT)
        return "\n".join(lines)

    def _raw_line(self, deadline: float) -> str:
        """A line; of one that is too long, a part."""
        seen = 0
        while (end := self._buffer.find(b"\n", seen)) < 0 and (seen := len(self._buffer)) <= limits.OUTPUT:
            self._check()
            if time.monotonic() > deadline:
                raise Unreachable(f"{self._session.name}: {self._step}: timed out")
            self._shell.settimeout(1)
            try:
                piece = self._shell.recv(PIECE)
            except TimeoutError:
                continue
            except broken() as error:
                raise self._session.lost(error) from None
            if not piece and self._began:
                raise self._session.closed()
            if not piece:
                raise self._session.ended(self._shell)
            self._buffer += piece
        end = len(self._buffer) if end < 0 else end
        line = self._buffer[:end].decode(errors="replace")
        del self._buffer[: end + 1]
        return line

    def _check(self) -> None:
        """Raise Unreachable if no heartbeat will come, or none came for so long that the server has released the lock
        by now."""
        broken_by = self._pulse.broken
        if broken_by is not None and not self._began:
            raise self._session.ended(self._heart)  # for the same reason as the shell, which may not have ended yet
        if broken_by is not None:
            raise Unreachable(self._session.lost(broken_by).summary, AGAIN)
        if time.monotonic() - self._pulse.heard > PATIENCE:
            raise Unreachable(
                f"{self._session.name}: connection lost: no heartbeat for {PATIENCE} s, so the lock was released", AGAIN
            )

    def _beat(self) -> None:
        count = 0
        heart = self._heart
        while not self._stop.wait(0.0 if count == 0 else BEAT):
            count += 1
            try:
                heart.settimeout(BEAT)
                heart.sendall(f"{count}\n".encode())
                if heart.recv(PIECE):
                    self._pulse.heard = time.monotonic()
            except TimeoutError:
                continue
            except broken(limits.OutputTooLarge) as error:
                self._pulse.broken = None if self._stop.is_set() else error
                return


def _name(command: Command) -> str:
    """A command as messages name it."""
    return command.label or " ".join(command.argv[:2])
