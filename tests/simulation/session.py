"""What the engine gets of a simulated server: a session, and a shell that holds the lock; here faults strike."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from infra.errors import DynoctlError, Unreachable
from infra.model.provider import Fragment
from infra.model.resource import Command
from infra.model.shell import LockTaken, RemoteBuild, Sections, StepFailed
from infra.state import audit_log, releases
from tests.simulation import facts
from tests.simulation.faults import PARTIAL, Fault, Kind
from tests.simulation.programs import PROGRAMS
from tests.simulation.scripts import SCRIPTS, Steps
from tests.simulation.server import SimServer

if TYPE_CHECKING:
    from tests.simulation.fleet import SimFleet


class SimSession:
    """Implements ``infra.model.shell.Session``."""

    def __init__(self, fleet: SimFleet, server: SimServer, name: str, reached_by: str) -> None:
        self.name = name
        self.reached_by = reached_by
        self.user = "root"
        self.connections = 1
        self.execs = 0
        self.fleet = fleet
        self.server = server
        self.boot = server.boot
        self.closed = False
        self.shells: list[SimShell] = []

    def usable(self) -> SimServer:
        """The server; raises Unreachable if the session ended."""
        server = self.server
        if self.closed or not server.up or server.boot != self.boot:
            self.close()
            raise Unreachable(f"{self.name}: the connection broke")
        server.settle()
        return server

    def exchange(self, subject: str) -> Fault | None:
        fault = self.fleet.exchange(self.server, subject)
        self.usable()
        return fault

    def plain(self, subject: str) -> None:
        """An exchange that changes nothing on the server."""
        fault = self.exchange(subject)
        if fault is not None:
            self.closed = fault.kind is not Kind.FULL
            if self.closed:
                self.close()
            self.fleet.strike(self.server, fault, self.name)

    def observe(self, fragments: Mapping[str, Fragment], timeout: float = 60) -> Sections:
        self.execs += 1
        self.plain("observe")
        server = self.server
        found: dict[str, tuple[int, str]] = {}
        for name, fragment in fragments.items():
            key = (name, fragment.variables.get("app", ""), self.reached_by)
            known = server.cache.get(key)
            if known is None or known[0] != server.version:
                if name == "facts":
                    text = facts.render(server, key[1], self.reached_by)
                else:
                    text = self.fleet.sections[fragment.script](server, fragment.variables)
                known = server.cache[key] = (server.version, text)
            found[name] = (0, known[1])
            if name == "facts":
                found[name] = (0, "\n".join([known[1], *_lock(server, key[1])]))
        return found

    def execute(self, command: Command) -> tuple[int, str]:
        self.execs += 1
        fault = self.exchange(words(command))
        try:
            return self.work(command, fault)
        except StepFailed as error:
            return error.status, error.output

    def work(self, command: Command, fault: Fault | None) -> tuple[int, str]:
        """Run one command on the server, with its fault."""
        server = self.server
        kind = None if fault is None else fault.kind
        if kind in (Kind.LOST_BEFORE, Kind.CUT):
            self.close()
            raise Unreachable(f"{self.name}: the connection broke")
        if kind is Kind.FAIL:
            raise StepFailed(self.name, command, 1, "failed")
        if kind is Kind.HANG:
            self.fleet.clock.advance(command.timeout)
            raise StepFailed(self.name, command, 124, "")
        steps = interpret(server, command)
        if fault is not None and kind in PARTIAL:
            for _ in range(fault.cut):
                if next(steps, "end") == "end":
                    break
            steps.close()
            return self._cut(command, fault)
        was, server.full = server.full, server.full or kind is Kind.FULL
        try:
            while True:
                next(steps)
        except StopIteration as end:
            answer: tuple[int, str] = end.value
        finally:
            server.full = was
        if kind is Kind.LOST_AFTER:
            self.close()
            raise Unreachable(f"{self.name}: the connection broke")
        if kind is Kind.KILL_AFTER:
            self.fleet.kill()
        return answer

    def _cut(self, command: Command, fault: Fault) -> tuple[int, str]:
        if fault.kind in (Kind.REBOOT, Kind.OFF):
            self.server.shut_down()
            if fault.kind is Kind.REBOOT:
                self.server.boot_up()
        if fault.kind is Kind.KILL_HALF:
            self.fleet.kill()
        if fault.kind is Kind.HALF:
            # Only a kill keeps a trial from cleaning up after itself.
            status = 137 if command.argv[1] in ("candidate", "run-release") else 1
            raise StepFailed(self.name, command, status, "failed halfway")
        self.close()
        raise Unreachable(f"{self.name}: the connection broke")

    def shell(self, app: str, holder: str) -> SimShell:
        self.execs += 2
        self.plain("shell")
        shell = SimShell(self, app, holder)
        self.shells.append(shell)
        return shell

    def upload(self, local: Path, path: str, sha256: str) -> None:
        fault = self.exchange(f"upload {path}")
        if fault is not None and fault.kind in (Kind.FULL, Kind.FAIL, Kind.HALF, Kind.HANG):
            raise DynoctlError(f"{self.name}: cannot send {path}: no space left on device")
        if fault is not None and fault.kind not in (Kind.LOST_AFTER, Kind.KILL_AFTER):
            self.close()
            self.fleet.strike(self.server, fault, self.name)
        if self.server.full:
            raise DynoctlError(f"{self.name}: cannot send {path}: no space left on device")
        self.server.write(path, f"{sha256}\n")
        self.server.directories.add(path.partition("/slugs/")[0])
        if fault is not None:
            self.close()
            self.fleet.strike(self.server, fault, self.name)

    def download(self, path: str, local: Path, largest: int | None = None) -> None:
        self.plain(f"download {path}")
        if path not in self.server.files:
            raise DynoctlError(f"{self.name}: cannot read {path}: not found")
        local.write_text(self.server.files[path])

    def build(self, job: RemoteBuild, up: IO[bytes], down: IO[bytes], log: IO[bytes]) -> int:
        raise AssertionError("no simulated slug is built on a server")

    def close(self) -> None:
        self.closed = True
        for shell in self.shells:
            shell.release()


class SimShell:
    """Implements ``infra.model.shell.Shell``."""

    def __init__(self, session: SimSession, app: str, holder: str) -> None:
        self.session = session
        self.app = app
        self.holder = holder
        self.closed = False

    @property
    def name(self) -> str:
        return self.session.name

    def take(self) -> SimShell:
        self._open().plain("lock")
        server = self.session.server
        # Apps that share a server wait for each other.
        app, other = next(iter(server.locks.items()), ("", None))
        if self.app in server.locks:
            app, other = self.app, server.locks[self.app]
        if other is not None:
            self.close()
            raise LockTaken(self.name, _holder(other), "" if app == self.app else app)
        server.locks[self.app] = self
        server.lock_files.add(self.app)
        return self

    def _open(self) -> SimSession:
        if self.closed:
            raise Unreachable(f"{self.name}: the connection broke")
        return self.session

    def observe(self, fragments: Mapping[str, Fragment], timeout: float = 60) -> Sections:
        return self._open().observe(fragments, timeout)

    def run(self, commands: Sequence[Command], started: Callable[[Command], None] | None = None) -> str:
        session = self._open()
        printed = []
        for command in commands:
            if started is not None:
                started(command)
            fault = session.exchange(words(command))
            status, output = session.work(command, fault)
            printed.append(output)
            if status != 0:
                raise StepFailed(self.name, command, status, output)
        return "\n".join(printed)

    def forget(self) -> None:
        self._open().plain("forget the lock")
        self.session.server.lock_files.discard(self.app)
        self.close()

    def release(self) -> None:
        """Let go of the lock, as the kernel does when the session ends."""
        self.closed = True
        if self.session.server.locks.get(self.app) is self:
            del self.session.server.locks[self.app]

    def close(self) -> None:
        self.release()


def _holder(held: object) -> str:
    """How the holder of a lock identifies itself."""
    return held.holder if isinstance(held, SimShell) else str(held)


def words(command: Command) -> str:
    """A command in a few words, for the trace."""
    argv = command.argv
    return " ".join(argv[3:] if argv[:2] == ("sh", "-c") else argv)


def interpret(server: SimServer, command: Command) -> Steps:
    """The effects of a command. One that nobody has described is a fault of the test."""
    argv, stdin = command.argv, (command.stdin or b"").decode()
    if argv[:2] == ("sh", "-c") and argv[2] in SCRIPTS:
        return SCRIPTS[argv[2]](server, argv[4:], stdin)
    if argv[0] == "sim" and argv[1] in PROGRAMS:
        return PROGRAMS[argv[1]](server, argv[2:], stdin)
    if argv[0] == "sha256sum":
        return _sha256sum(server, argv[1])
    if argv[0] == "cat":
        return _cat(server, argv[1])
    raise AssertionError(f"the simulation does not know the command {argv}")


def _list_releases(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """What ``infra.state.releases`` asks: every release's record, and which of them can be made again."""
    yield
    paths = server.below(f"{argv[0]}/releases")
    bodies = [f"body {path.rpartition('/')[2].removesuffix('.body')}" for path in paths if path.endswith(".body")]
    found = [server.files[path].strip() for path in paths if path.endswith(".json")]
    meta = f"meta {server.files.get(f'{argv[0]}/meta.json', '').strip()}"
    return 0, "\n".join([*found, *bodies, meta, *_lock(server, argv[1])])


def _read_holder(server: SimServer, argv: tuple[str, ...], stdin: str) -> Steps:
    """What ``infra.state.audit_log`` asks: who holds the lock."""
    yield
    return 0, "\n".join(_lock(server, argv[0]))


def _lock(server: SimServer, app: str) -> list[str]:
    """What ``infra.model.lock_holder`` prints."""
    return [f"lock {_holder(server.locks[app])}"] if app in server.locks else []


SCRIPTS[releases._LIST] = _list_releases
SCRIPTS[audit_log._HOLDER] = _read_holder


def _sha256sum(server: SimServer, path: str) -> Steps:
    yield
    text = server.files.get(path)
    if text is None:
        return 1, f"sha256sum: {path}: not found"
    return 0, f"{hashlib.sha256(text.encode()).hexdigest()}  {path}"


def _cat(server: SimServer, path: str) -> Steps:
    yield
    text = server.files.get(path)
    return (0, text) if text is not None else (1, f"cat: {path}: not found")
