"""The contract of a connection to a server: a session, and a root shell that holds the app's lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar, runtime_checkable

from infra.errors import DynoctlError
from infra.model.lock_holder import words
from infra.model.provider import Fragment
from infra.model.resource import Command
from infra.model.target import Target


@dataclass(frozen=True)
class RemoteBuild:
    """The build commands to run on a server: their environment, PATH ("" is the default), and timeout in seconds."""

    commands: tuple[str, ...]
    environment: Mapping[str, str]
    path: str
    timeout: float


Sections = Mapping[str, tuple[int, str]]
"""The exit status and the output of each fragment, by name. A fragment that did not run is absent."""


class LockTaken(DynoctlError):
    """Another apply holds the lock on ``server``; ``holder`` is how it identified itself. ``app`` is the app that it
    applies if that is another one: it shares the server, and nothing else."""

    def __init__(self, server: str, holder: str, app: str = "") -> None:
        what = f"an apply of {app}" if app else "another apply"
        holder = words(holder)
        self.what = f"{what} is running: {holder or 'unknown holder'}"
        super().__init__(
            f"{server}: {self.what}",
            "to wait until it ends: --lock-timeout 10m; if its holder died, the lock frees itself",
        )
        self.server = server
        self.holder = holder
        self.app = app


class StepFailed(DynoctlError):
    """A command failed on a server that still answers; ``output`` is what it printed."""

    def __init__(self, server: str, command: Command, status: int, output: str) -> None:
        what = command.label or " ".join(command.argv[:2])
        self.timed_out = status in (124, 137)
        why = f"timed out after {command.timeout} s" if self.timed_out else f"exited with status {status}"
        super().__init__(f"{server}: {what}: {why}", output)
        self.command = command
        self.status = status
        self.output = output


class Observable(Protocol):
    """A connection that can observe a server: a session, or a shell that holds the lock."""

    @property
    def name(self) -> str:
        """The server's name in the manifest."""
        ...

    def observe(self, fragments: Mapping[str, Fragment], timeout: float = 60) -> Sections:
        """Run every fragment in one round trip. Raises Unreachable if the connection breaks."""
        ...


class Shell(Observable, Protocol):
    """A root shell on one server. From ``take`` to ``close`` it holds the app's lock."""

    def take(self) -> Shell:
        """Take the lock; returns the shell. Raises LockTaken if another apply holds it, and Unreachable."""
        ...

    def run(self, commands: Sequence[Command], started: Callable[[Command], None] | None = None) -> str:
        """Run commands in order up to the first that fails; returns what they printed.

        ``started`` is called before each. Raises StepFailed, or Unreachable if the connection breaks: then any prefix
        of the commands may have run."""
        ...

    def forget(self) -> None:
        """Remove the lock's files once nothing of the app is left on the server, and close."""
        ...

    def close(self) -> None:
        """Release the lock. Never raises."""
        ...


class Session(Observable, Protocol):
    """An open connection to one server. Used by one thread at a time."""

    connections: int
    execs: int
    """How many connections and exec channels were opened so far."""

    @property
    def user(self) -> str:
        """The login."""
        ...

    def execute(self, command: Command) -> tuple[int, str]:
        """Run one command as root: its exit status and what it printed. Raises Unreachable."""
        ...

    def shell(self, app: str, holder: str) -> Shell:
        """Open a root shell that can take the lock of ``app``; ``holder`` is shown to others while it is held."""
        ...

    def upload(self, local: Path, path: str, sha256: str) -> None:
        """Send a file whole, checked by its digest. Raises DynoctlError."""
        ...

    def download(self, path: str, local: Path, largest: int | None = None) -> None:
        """Fetch a file whole, checked by its digest. Raises DynoctlError, also if it is larger than ``largest`` bytes,
        which is the limit of an image by default."""
        ...

    def build(self, job: RemoteBuild, up: IO[bytes], down: IO[bytes], log: IO[bytes]) -> int:
        """Build a tree on the server: send the tar in ``up``, and write the result to ``down`` as a tar if every
        command succeeds, and their output to ``log``. Returns the status of the first one that fails, or 0. Raises
        Unreachable."""
        ...

    def close(self) -> None:
        """Close the connection; locks taken through it are released."""
        ...


T = TypeVar("T")
S = TypeVar("S", bound=Session)


@runtime_checkable
class Elsewhere(Protocol):
    """A connection that another process has: what is asked there is parsed there, and only the answer travels."""

    def ask(self, question: Callable[[Any], T]) -> T:
        """The answer to a question, which gets the session or the shell. Both are values: they can be pickled. Raises
        Unreachable, and what the question raises."""
        ...


def ask(server: Observable, question: Callable[[Any], T]) -> T:
    """The answer to a question for a connection, wherever that is."""
    return server.ask(question) if isinstance(server, Elsewhere) else question(server)


Connect = Callable[[Target], Session]
"""Opens a session. Raises Unreachable."""


@runtime_checkable
class ConnectElsewhere(Protocol):
    """A ``Connect`` whose sessions another process has. A message to it takes as long as a signature."""

    def __call__(self, target: Target) -> Session: ...

    def asking(self, target: Target, question: Callable[[Any], T]) -> tuple[Session, T]:
        """A session and its answer to a question, by one message. Raises Unreachable, and what the question raises:
        then no session is left."""
        ...


def connect_and_ask(connect: Connect, target: Target, question: Callable[[Any], T]) -> tuple[Session, T]:
    """A new session and its answer to a question. Raises as ``ConnectElsewhere.asking`` does."""
    if isinstance(connect, ConnectElsewhere):
        return connect.asking(target, question)
    return answered(connect(target), question)


def answered(session: S, question: Callable[[Any], T]) -> tuple[S, T]:
    """A session and its answer to a question. It is closed if there is none. Raises what ``ask`` raises."""
    try:
        return session, ask(session, question)
    except BaseException:
        session.close()
        raise
