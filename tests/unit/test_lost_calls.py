"""Whatever Paramiko and the system raise in whatever call on a connection, a user is told that the connection was lost."""

from __future__ import annotations

import hashlib
import io
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import paramiko.ssh_exception
import pytest

from infra.errors import DynoctlError
from infra.model.provider import Fragment
from infra.model.resource import Command
from infra.model.shell import RemoteBuild
from infra.model.target import Target
from infra.remote import session as sessions
from infra.remote.attached import Attached, detach
from infra.remote.session import Session
from infra.remote.stream import Stream
from tests.unit.test_connect import exceptions

RAISED = [
    *exceptions(paramiko.ssh_exception),
    *(kind for kind in exceptions(__import__("builtins"), socket) if issubclass(kind, OSError | EOFError)),
]

CALLS = [
    "open",
    "get_pty",
    "exec_command",
    "sendall",
    "recv",
    "recv_stderr",
    "recv_exit_status",
    "shutdown_write",
    "close",
]


class Buffer:
    def feed(self, data: bytes) -> None: ...
    def __len__(self) -> int:
        return 0


class Channel:
    """A channel to a program that ends at once with status 3."""

    closed = eof_received = True
    out_window_size = 1 << 21

    def __init__(self, fail: Callable[[str], None]) -> None:
        self._fail = fail
        self.in_buffer, self.in_stderr_buffer = Buffer(), Buffer()
        self.said = 1

    def __getattr__(self, name: str) -> Any:
        def call(*_: Any, **__: Any) -> Any:
            self._fail(name)
            if name == "recv_stderr":
                self.said -= 1
            found: dict[str, Any] = {"recv": b"", "recv_stderr": b"", "recv_exit_status": 3}
            found |= {"recv_ready": False, "recv_stderr_ready": self.said > 0, "exit_status_ready": True}
            return found.get(name)

        return call


class Channels:
    def __init__(self, fail: Callable[[str], None]) -> None:
        self._fail, self.first = fail, self

    user, transport = "root", None

    def open(self, _: Any) -> Channel:
        self._fail("open")
        return Channel(self._fail)

    def close(self) -> None: ...
    def __len__(self) -> int:
        return 1


def lock(session: Session, _: Path) -> None:
    session.shell("shop", "me").take()


def upload(session: Session, directory: Path) -> None:
    (directory / "up").write_bytes(b"x")
    session.upload(directory / "up", "/x", hashlib.sha256(b"x").hexdigest())


def build(session: Session, _: Path) -> None:
    session.build(RemoteBuild(("true",), {}, "", 60), io.BytesIO(b"x"), io.BytesIO(), io.BytesIO())


def attached(session: Session, _: Path) -> None:
    program = Attached(session, "dynoctl-run-shop.1", ["true"], "")
    try:
        program.start(("xterm", 80, 24))
        program.status()
    finally:
        program.close(0)


WORK: dict[str, Callable[[Session, Path], object]] = {
    "run": lambda session, _: session.run("true", 1),
    "execute": lambda session, _: session.execute(Command(("true",))),
    "observe": lambda session, _: session.observe({"a": Fragment("true", {})}),
    "examine": lambda session, _: session.examine({"a": Fragment("true", {})}, Command(("true",)), 1),
    "lock": lock,
    "upload": upload,
    "download": lambda session, directory: session.download("/x", directory / "down"),
    "build": build,
    "stream": lambda session, _: list(Stream(session, "true", {}).lines()),
    "attached": attached,
    "detach": lambda session, _: detach(session, "dynoctl-run-shop.1", ["true"], ""),
    "host key": lambda session, _: session.host_key,
}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("call", CALLS)
def test_every_exception_of_every_call_is_explained(
    call: str, work: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for kind in RAISED:
        if call == "recv" and issubclass(kind, TimeoutError):
            continue  # nothing has come yet, which is no failure

        def fail(name: str, kind: type[Exception] = kind) -> None:
            if name == call:
                raise kind.__new__(kind)  # without its text, and perhaps not to be printed at all

        monkeypatch.setattr(sessions, "Channels", lambda _, fail=fail: Channels(fail))
        try:
            WORK[work](Session(Target("grid-1", "127.0.0.1")), tmp_path)
        except DynoctlError as error:
            assert error.summary.startswith("grid-1"), kind
            assert error.summary.rpartition(": ")[2].strip(), kind


def test_a_long_script_is_sent_whole_however_long_the_server_takes_to_read_it() -> None:
    """The reader of the same channel waits a second at most. What was cut off there would let the server wait for the
    rest, and us for its answer."""
    sent = bytearray()
    late = iter([True, False, True, True, False])

    class Busy:
        closed = False
        ended = 0

        def send(self, piece: bytes) -> int:
            if next(late, False):
                raise TimeoutError
            taken = piece[:1000]
            sent.extend(taken)
            return len(taken)

        def shutdown_write(self) -> None:
            self.ended += 1

    channel, script = Busy(), bytes(range(256)) * 100
    sessions._feed_slowly(channel, script)  # type: ignore[arg-type]
    assert bytes(sent) == script and channel.ended == 1
    channel.closed = True
    sessions._feed_slowly(channel, script)  # type: ignore[arg-type]
    assert bytes(sent) == script


@pytest.mark.parametrize(
    ("size", "window", "apart"),
    [(sessions.SHORT, 1 << 21, False), (sessions.SHORT + 1, 1 << 21, True), (1000, 999, True), (1000, 1000, False)],
)
def test_only_what_may_wait_for_the_server_is_sent_apart(
    size: int, window: int, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[tuple[str, int, bool]] = []
    done = threading.Event()

    def feed(name: str) -> Callable[[Channel, bytes], None]:
        def record(_: Channel, data: bytes) -> None:
            fed.append((name, len(data), threading.current_thread() is threading.main_thread()))
            done.set()

        return record

    monkeypatch.setattr(sessions, "_feed", feed("at once"))
    monkeypatch.setattr(sessions, "_feed_slowly", feed("slowly"))
    monkeypatch.setattr(Channel, "out_window_size", window)
    monkeypatch.setattr(sessions, "Channels", lambda _: Channels(lambda name: None))
    with suppress(DynoctlError):
        Session(Target("grid-1", "127.0.0.1")).run("x" * size)
    assert done.wait(5)
    assert fed == [("slowly", size, False) if apart else ("at once", size, True)]
