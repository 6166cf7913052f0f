"""A session and a locked shell that a worker has: the same methods, and only values pass.

Both are as ``infra.model.shell`` describes them. If the worker is gone, every call says so as it does of a connection
that is lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from infra import __version__
from infra.errors import DynoctlError, Unreachable
from infra.model.provider import Fragment
from infra.model.resource import Command
from infra.model.shell import RemoteBuild, Sections, answered
from infra.model.target import Target
from infra.remote.worker import PIECE
from infra.remote.workers import Gone, Member, Workers, lost

if TYPE_CHECKING:
    from infra.remote.session import Examined

T = TypeVar("T")


class DistantSession:
    """Implements ``infra.model.shell.Session``."""

    def __init__(
        self, workers: Workers, target: Target, read_only: str, question: Callable[[Any], Any] | None = None
    ) -> None:
        """Connect, and ask a question if there is one. Raises Unreachable, and what the question raises."""
        self.target = target
        self.connections = self.execs = 0
        self._workers = workers
        self._read_only = read_only
        self._changes = False
        self._user = self._host_key = ""
        self._question: Callable[[Any], Any] | None = question
        self.answer: Any = None
        """That of the question."""
        self._member, self._number = workers.member(target.name), 0
        try:
            self._connect()
        except Gone:
            self._again()

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def user(self) -> str:
        return self._user

    @property
    def host_key(self) -> str:
        """As of ``infra.remote.session.Session``."""
        self._host_key = self._host_key or self._observing(lambda: self._plain("host_key"))
        return self._host_key

    def observe(self, fragments: Mapping[str, Fragment], timeout: float = 60) -> Sections:
        found: Sections = self._observing(lambda: self._plain("observe", fragments, timeout))
        return found

    def ask(self, question: Callable[[Any], T]) -> T:
        """The answer to a question that the worker asks of its session. Question and answer are values. Raises
        Unreachable, and what the question raises."""
        answer: T = self._observing(lambda: self._plain("ask", self._member.question(question)))
        return answer

    def execute(self, command: Command) -> tuple[int, str]:
        done: tuple[int, str] = self._call("execute", command)
        return done

    def examine(self, fragments: Mapping[str, Fragment], command: Command | None, timeout: float) -> Examined:
        """As of ``infra.remote.session.Session``."""
        examined: Examined = self._observing(lambda: self._plain("examine", fragments, command, timeout))
        return examined

    def shell(self, app: str, holder: str) -> DistantShell:
        self._changes = True
        number = self._member.number()
        self._call("shell", number, app, holder)
        return DistantShell(self, self._member, number)

    def upload(self, local: Path, path: str, sha256: str) -> None:
        if self._member.near:
            self._call("upload", local.absolute(), path, sha256)
            return
        self._call("upload", self._member.kept(sha256, lambda: self._copy(local)), path, sha256)

    def download(self, path: str, local: Path, largest: int | None = None) -> None:
        if self._member.near:
            self._call("download", path, local.absolute(), largest)
            return
        number = self._put()
        try:
            self._call("download", path, number, largest)
            with local.open("wb") as file:
                self._get(number, file)
        finally:
            self._member.tell("drop", number)

    def build(self, job: RemoteBuild, up: IO[bytes], down: IO[bytes], log: IO[bytes]) -> int:
        source, result = self._put(up), self._put()
        try:
            status: int = self._call("build", job, source, result, event=log.write)
            self._get(result, down)
        finally:
            self._member.tell("drop", source)
            self._member.tell("drop", result)
        return status

    def _copy(self, local: Path) -> int:
        with local.open("rb") as file:
            return self._put(file)

    def _put(self, file: IO[bytes] | None = None) -> int:
        """Send a file to the worker, or an empty one; its number there."""
        number = self._member.number()
        self._of_worker("file", number)
        while file is not None and (piece := file.read(PIECE)):
            self._of_worker("write", number, piece)
        return number

    def _get(self, number: int, file: IO[bytes]) -> None:
        """Fetch a file of the worker."""
        while piece := self._of_worker("read", number):
            file.write(piece)

    def _of_worker(self, verb: str, on: int, *arguments: Any) -> Any:
        """What the worker answers to a request about something else that it has. Raises Unreachable."""
        try:
            return self._member.call(verb, on, *arguments)
        except Gone:
            raise lost(self.name, self._member) from None

    def close(self) -> None:
        """Close the connection, without waiting for that."""
        self._member.tell("close", self._number)

    def count(self, counts: tuple[int, int]) -> None:
        """Note how many connections and execs there were so far."""
        self.connections, self.execs = counts

    def _connect(self) -> None:
        self._number = self._member.number()
        target = self.target if self._member.near else _abroad(self.target)
        question = None if self._question is None else self._member.question(self._question)
        self._user, version, self.answer = self._plain("connect", target, self._read_only, question)
        self._question = None  # not again, if it connects again
        if version != __version__:
            raise Unreachable(
                f"{self.name}: its worker has dynoctl {version}, and this is {__version__}",
                "install the same version on all controllers",
            )

    def _again(self) -> None:
        """Connect by another worker, as this one is gone. Raises Unreachable if there is none."""
        gone = self._member
        try:
            member = self._workers.instead(self.name, gone)
            if member is None:
                raise lost(self.name, gone)
            self._member = member
            self._connect()
        except Gone:
            raise lost(self.name, self._member) from None
        except Unreachable:
            raise
        except DynoctlError as error:
            raise Unreachable(f"{self.name}: connection lost: {gone.lost}, and {error.summary}", error.hint) from None

    def _observing(self, request: Callable[[], Any]) -> Any:
        """The answer to a request that changes nothing, which is repeated if the worker is gone, unless the connection
        had more than that to do."""
        try:
            return request()
        except Gone:
            if self._changes:
                raise lost(self.name, self._member) from None
        self._again()
        try:
            return request()
        except Gone:
            raise lost(self.name, self._member) from None

    def _plain(self, verb: str, *arguments: Any) -> Any:
        return self._member.call(verb, self._number, *arguments, counts=self.count)

    def _call(self, verb: str, *arguments: Any, event: Callable[[Any], Any] = lambda _: None) -> Any:
        self._changes = True
        try:
            return self._member.call(verb, self._number, *arguments, event=event, counts=self.count)
        except Gone:
            raise lost(self.name, self._member) from None


class Connector:
    """Implements ``infra.model.shell.Connect`` and ``ConnectElsewhere``."""

    def __init__(self, workers: Workers, read_only: str) -> None:
        self._workers, self._read_only = workers, read_only

    def __call__(self, target: Target) -> DistantSession:
        return DistantSession(self._workers, target, self._read_only)

    def asking(self, target: Target, question: Callable[[Any], T]) -> tuple[DistantSession, T]:
        if self._workers.member(target.name).near:
            session = DistantSession(self._workers, target, self._read_only, question)
            answer: T = session.answer
            session.answer = None
            return session, answer
        return answered(self(target), question)  # it first tells the version that would read the question


def _abroad(target: Target) -> Target:
    """The target for another machine: what is below the home directory here is below the one there."""

    def moved(path: Path | None) -> Path | None:
        below = path is not None and path.is_relative_to(Path.home())
        return Path("~", path.relative_to(Path.home())) if path is not None and below else path

    return replace(target, key=moved(target.key), known_hosts=moved(target.known_hosts))


class DistantShell:
    """Implements ``infra.model.shell.Shell``."""

    def __init__(self, session: DistantSession, member: Member, number: int) -> None:
        self._session = session
        self._member = member
        self._number = number

    @property
    def name(self) -> str:
        return self._session.name

    def take(self) -> DistantShell:
        self._call("take")
        return self

    def run(self, commands: Sequence[Command], started: Callable[[Command], None] | None = None) -> str:
        def begin(place: int) -> None:
            if started is not None:
                started(commands[place])

        if not commands:
            return ""
        printed: str = self._call("run", tuple(commands), started is not None, event=begin)
        return printed

    def observe(self, fragments: Mapping[str, Fragment], timeout: float = 60) -> Sections:
        found: Sections = self._call("observe", fragments, timeout)
        return found

    def ask(self, question: Callable[[Any], T]) -> T:
        """As of a session, under the lock."""
        try:
            answer: T = self._call("ask", self._member.question(question))
        except Gone:
            raise lost(self.name, self._member) from None
        return answer

    def forget(self) -> None:
        self._call("forget")

    def close(self) -> None:
        try:
            self._call("close")
        except DynoctlError:
            return  # the worker is gone, and the lock with it

    def _call(self, verb: str, *arguments: Any, event: Callable[[Any], Any] = lambda _: None) -> Any:
        try:
            return self._member.call(verb, self._number, *arguments, event=event, counts=self._session.count)
        except Gone:
            raise lost(self.name, self._member) from None
