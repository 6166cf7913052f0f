"""A worker: owns the sessions of some servers with their locks and heartbeats, and does what the coordinator asks for.

It is the same object in a process of this machine and on a cluster. Values come in and go out; nothing else of a
connection leaves it. Requests run at the same time, those of one server one after the other, as the coordinator waits
for each."""

from __future__ import annotations

import itertools
import tempfile
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, cast

from infra import __version__
from infra.errors import DynoctlError
from infra.model.shell import RemoteBuild, Session, Shell
from infra.model.target import Target
from infra.remote import identities
from infra.remote.channel import broken
from infra.remote.values import Packer, Reply, Request, Unpacker

MOST = 1024
"""Requests at the same time. ``--parallelism`` is the limit that counts."""

PIECE = 1 << 20
"""Bytes of a file in one message."""

Open = Callable[[Target, str], Session]
"""Opens a session; with the name of an app, one that may only observe it."""


def open_session(target: Target, read_only: str) -> Session:
    """Log in to a server. Raises Unreachable."""
    if read_only:
        from infra.remote.read_only import connect

        return connect(read_only)(target)
    from infra.remote.session import Session as Plain

    return Plain(target)


@dataclass
class _Held:
    session: Session
    shell: Shell | None = None


class Worker:
    """``send`` hands a message to the coordinator; it is called by one thread at a time."""

    def __init__(self, send: Callable[[bytes], None], open_: Open = open_session) -> None:
        self._send = send
        self._open = open_
        self._packer, self._unpacker = Packer(), Unpacker()
        self._sending = threading.Lock()
        self._held: dict[int, _Held] = {}
        self._files: dict[int, IO[bytes]] = {}
        self._questions: dict[int, Callable[[Any], Any]] = {}
        self._pool = ThreadPoolExecutor(MOST, "request")
        self._asked: dict[int, SimpleQueue[Any]] = {}
        self._numbers = itertools.count(1)
        self._told: dict[Path, str] = {}
        self._verbs: dict[str, Callable[..., Any]] = {
            "connect": self._connect,
            "host_key": lambda on: self._session(on).host_key,  # type: ignore[attr-defined]
            "observe": lambda on, *values: self._either(on).observe(*values),
            "execute": lambda on, command: self._session(on).execute(command),
            "examine": lambda on, *values: self._session(on).examine(*values),  # type: ignore[attr-defined]
            "ask": lambda on, question: self._questions[question](self._either(on)),
            "shell": self._shell,
            "take": self._take,
            "ping": lambda _: None,
            "forget": lambda on: self._locked(on).forget(),
            "upload": self._upload,
            "download": self._download,
            "file": self._new_file,
            "write": lambda on, piece: self._files[on].write(piece),
            "read": lambda on: self._files[on].read(PIECE),
            "drop": lambda on: self._files.pop(on).close(),
            "skipped": self._skipped,
            "close": self._close,
        }

    def receive(self, message: bytes) -> None:
        """Take a request, and return at once. Messages must come in order."""
        request = self._unpacker.unpack(message)
        if request.verb == "question":  # before what is asked with it
            number, question = request.arguments
            self._questions[number] = question
        elif request.verb == "answer":
            self._asked.pop(request.on).put(request.arguments[0])
        else:
            self._pool.submit(self._work, request)

    def close(self) -> None:
        """Close all sessions. Their locks are released."""
        held, self._held = self._held, {}
        closing = [threading.Thread(target=_quietly, args=(one.session,), daemon=True) for one in held.values()]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join(1)
        self._pool.shutdown(wait=False, cancel_futures=True)
        for file in self._files.values():
            file.close()

    def ask_for_passphrases(self) -> None:
        """Let the coordinator ask for the passphrases of keys: it has the terminal."""
        identities.ask = self._passphrase

    def _work(self, request: Request) -> None:
        reply: Reply
        try:
            if request.verb == "run":
                value: Any = self._run(request)
            elif request.verb == "build":
                value = self._build(request)
            else:
                value = self._verbs[request.verb](request.on, *request.arguments)
            reply = Reply(request.number, "value", value, self._counts(request.on))
        except Exception as error:
            reply = Reply(request.number, "error", _portable(error), self._counts(request.on))
        try:
            self._reply(reply)
        except Exception as error:  # a value that cannot be packed: a fault of ours, and not silence
            self._reply(Reply(request.number, "error", _portable(error)))

    def _reply(self, reply: Reply) -> None:
        with self._sending, suppress(OSError, EOFError):  # nobody listens any more: what ends the process is on its way
            self._send(self._packer.pack(reply))

    def _counts(self, on: int) -> tuple[int, int] | None:
        held = self._held.get(on)
        return None if held is None else (held.session.connections, held.session.execs)

    def _session(self, on: int) -> Session:
        return self._held[on].session

    def _locked(self, on: int) -> Shell:
        shell = self._held[on].shell
        if shell is None:
            raise ValueError(f"{on} is no shell")
        return shell

    def _either(self, on: int) -> Session | Shell:
        held = self._held[on]
        return held.shell or held.session

    def _connect(self, on: int, target: Target, read_only: str, question: int | None) -> tuple[str, str, Any]:
        files = [file and file.expanduser() for file in (target.key, target.known_hosts)]
        session = self._open(replace(target, key=files[0], known_hosts=files[1]), read_only)
        self._held[on] = _Held(session)
        try:
            return session.user, __version__, None if question is None else self._questions[question](session)
        except BaseException:
            self._close(on)
            raise

    def _shell(self, on: int, number: int, app: str, holder: str) -> None:
        session = self._session(on)
        self._held[number] = _Held(session, session.shell(app, holder))

    def _take(self, on: int) -> None:
        self._locked(on).take()

    def _run(self, request: Request) -> str:
        commands, told = request.arguments
        places = iter(range(len(commands)))

        def started(_: object) -> None:
            self._reply(Reply(request.number, "event", next(places)))

        return self._locked(request.on).run(commands, started if told else None)

    def _close(self, on: int) -> None:
        held = self._held.pop(on, None)
        if held is not None:
            _quietly(held.shell or held.session)

    def _upload(self, on: int, local: Path | int, path: str, sha256: str) -> None:
        self._session(on).upload(self._path(local), path, sha256)

    def _download(self, on: int, path: str, local: Path | int, largest: int | None) -> None:
        self._session(on).download(path, self._path(local), largest)

    def _build(self, request: Request) -> int:
        job, up, down = request.arguments
        assert isinstance(job, RemoteBuild)  # noqa: S101  # for mypy
        self._files[up].seek(0)
        log = _Log(lambda piece: self._reply(Reply(request.number, "event", piece)))
        status = self._session(request.on).build(job, self._files[up], self._files[down], cast("IO[bytes]", log))
        self._files[down].seek(0)
        return status

    def _new_file(self, on: int) -> None:
        # It has no name, so nothing is left of it if this process is killed.
        self._files[on] = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by "drop"

    def _path(self, file: Path | int) -> Path:
        if isinstance(file, Path):
            return file
        self._files[file].flush()
        self._files[file].seek(0)
        return Path(f"/proc/self/fd/{self._files[file].fileno()}")

    def _skipped(self, _: int) -> list[tuple[str, str]]:
        from infra.remote import known_hosts

        return known_hosts.skipped()

    def _passphrase(self, file: Path, attempt: int) -> str:
        answer: SimpleQueue[Any] = SimpleQueue()
        with self._sending:
            number = next(self._numbers)
            self._asked[number] = answer
        self._reply(Reply(number, "question", (file, attempt, self._told.get(file, ""))))
        given = answer.get()
        if isinstance(given, Exception):
            raise given
        self._told[file] = str(given)
        return self._told[file]


class _Log:
    """A file for the output of a build, which is sent piece by piece."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.write = write


def _quietly(held: Session | Shell) -> None:
    with suppress(DynoctlError, *broken()):
        held.close()


def _portable(error: Exception) -> Exception:
    """The error as a value; one that is none, as an error with its words."""
    if isinstance(error, DynoctlError):
        return error
    trace = "".join(traceback.format_exception(error))
    try:
        Unpacker().unpack(Packer().pack(error))
        made = error
    except Exception:
        made = RuntimeError(f"{type(error).__name__}: {error}")
    made.add_note(f"in a worker process:\n{trace}")
    return made
