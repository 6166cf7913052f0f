"""Every wait on a server has an end: a real SSH connection to a server on the loopback that stops answering."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import paramiko.common
import pytest

from infra.errors import DynoctlError, Unreachable
from infra.model.shell import RemoteBuild
from infra.model.target import Target
from infra.remote import attached, session, transfer
from infra.remote.attached import Attached
from infra.remote.locked import LockedShell
from infra.remote.session import Session
from infra.remote.stream import Stream

SOON = 0.3
"""Seconds to which the limits are lowered here."""

LIMIT = 15
"""Seconds within which an error must come on a busy machine. Without a limit it never came."""


class Silent(paramiko.ServerInterface):
    """A server whose ``talk`` says as much on each channel as a test wants, and then nothing more."""

    def __init__(self, talk: Callable[[paramiko.Channel], None], answers: bool) -> None:
        self.talk = talk
        self.answers = answers
        self.over = threading.Event()

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return int(paramiko.common.AUTH_SUCCESSFUL)

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.common.OPEN_SUCCEEDED)

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if not self.answers:
            self.over.wait()
        threading.Thread(target=self._talk, args=(channel,), daemon=True).start()
        return True

    def _talk(self, channel: paramiko.Channel) -> None:
        with contextlib.suppress(OSError, EOFError):
            self.talk(channel)


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Session]]:
    for module, name in ((session, "SILENCE"), (session, "STATUS"), (transfer, "SILENCE"), (attached, "START")):
        monkeypatch.setattr(module, name, SOON)
    host_key, key = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()
    key.write_private_key_file(str(tmp_path / "key"))
    ends: list[Callable[[], None]] = []

    def start(talk: Callable[[paramiko.Channel], None], *, answers: bool = True) -> Session:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        line = f"[127.0.0.1]:{port} {host_key.get_name()} {host_key.get_base64()}\n"
        (tmp_path / "known_hosts").write_text(line)
        server = Silent(talk, answers)

        def accept() -> None:
            transport = paramiko.Transport(listener.accept()[0])
            ends.append(transport.close)
            transport.add_server_key(host_key)
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):  # the client may give up before
                transport.start_server(server=server)

        threading.Thread(target=accept, daemon=True).start()
        patience = LIMIT if answers else 2  # also of the start of a program
        opened = Session(
            Target(
                "grid-1",
                "127.0.0.1",
                "root",
                port,
                tmp_path / "key",
                tmp_path / "known_hosts",
                connect_timeout=patience,
            )
        )
        ends.extend([server.over.set, opened.close, listener.close])
        return opened

    yield start
    for end in ends:
        end()


def says(*lines: str, status: int | None = None, close: bool = False) -> Callable[[paramiko.Channel], None]:
    """Print lines once the script has begun to arrive, then an exit status and the end of output if they are given."""

    def talk(channel: paramiko.Channel) -> None:
        text = b""
        while b"ready=" not in text:
            piece = channel.recv(65536)
            if not piece:
                break
            text += piece
        word = text.partition(b"ready=")[2].split(b"\n")[0].strip(b"'").decode()
        for line in lines:
            channel.sendall(line.replace("READY", word).encode())
        if close:
            channel.shutdown_write()
        if status is not None:
            channel.send_exit_status(status)

    return talk


def quick(work: Callable[[], Any]) -> str:
    began = time.monotonic()
    with pytest.raises(DynoctlError) as caught:
        work()
    assert isinstance(caught.value, Unreachable)
    assert time.monotonic() - began < LIMIT
    return caught.value.summary


def image(directory: Path) -> tuple[Path, str]:
    path = directory / "image"
    path.write_bytes(b"x" * 100_000)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_program_that_never_starts(serve: Any) -> None:
    mute = serve(says(), answers=False)
    assert "timed out" in quick(lambda: mute.run(":"))


def test_a_script_that_ends_without_a_status(serve: Any) -> None:
    assert "timed out" in quick(lambda: serve(says("done\n", close=True)).run(":"))


def test_a_script_that_never_stops_talking(serve: Any) -> None:
    def talk(channel: paramiko.Channel) -> None:
        while True:  # slower than the limit on what it may send
            time.sleep(0.01)
            channel.sendall(b"on and on\n" * 100)

    assert "timed out after 1 s" in quick(lambda: serve(talk).run(":", timeout=1))


def test_the_last_wait_of_an_upload(serve: Any, tmp_path: Path) -> None:
    """It hung until the network came back."""
    local, digest = image(tmp_path)
    assert "timed out" in quick(lambda: serve(says("READY\n")).upload(local, "/x", digest))


def test_a_server_that_does_not_let_an_upload_begin(serve: Any, tmp_path: Path) -> None:
    def talk(channel: paramiko.Channel) -> None:
        while True:  # faster than any limit of a single read
            time.sleep(0.2)
            channel.sendall(b"a login shell that has something to say\n")

    local, digest = image(tmp_path)
    assert "timed out" in quick(lambda: serve(talk).upload(local, "/x", digest))


def test_a_download_that_never_ends(serve: Any, tmp_path: Path) -> None:
    def talk(channel: paramiko.Channel) -> None:
        says("READY\n", "0" * 64 + "\n")(channel)
        while True:  # faster than any limit of a single read, and slower than any line
            time.sleep(0.05)
            channel.sendall(b"x")

    assert "only 0 KiB of /x came in" in quick(lambda: serve(talk).download("/x", tmp_path / "down"))


def test_an_upload_that_is_taken_ever_so_slowly(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SLOWEST_LINE", 1 << 30)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 30)

    def talk(channel: paramiko.Channel) -> None:
        says("READY\n")(channel)
        while channel.recv(250_000):  # a window in time for each single write
            time.sleep(0.05)

    assert "timed out" in quick(lambda: serve(talk).upload(tmp_path / "large", "/x", ""))


def test_an_upload_that_goes_on_talking_after_its_status(
    serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "SILENCE", LIMIT)
    monkeypatch.setattr(transfer, "TAIL", SOON, raising=False)

    def talk(channel: paramiko.Channel) -> None:
        says("READY\n", status=1)(channel)
        while True:  # faster than any limit of a single read
            time.sleep(0.05)
            channel.sendall(b"and another thing\n")

    local, digest = image(tmp_path)
    began = time.monotonic()
    with pytest.raises(DynoctlError, match="cannot send /x"):
        serve(talk).upload(local, "/x", digest)
    assert time.monotonic() - began < LIMIT


def test_an_upload_that_loses_its_server_is_no_full_disk(
    serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "SILENCE", LIMIT)

    def talk(channel: paramiko.Channel) -> None:
        says("READY\n")(channel)
        channel.get_transport().close()

    local, digest = image(tmp_path)
    assert "connection lost" in quick(lambda: serve(talk).upload(local, "/x", digest))


def test_the_last_wait_of_a_build(serve: Any, tmp_path: Path) -> None:
    def build() -> None:
        job = RemoteBuild(("true",), {}, "", 60)
        with (tmp_path / "up").open("w+b") as up, (tmp_path / "down").open("w+b") as down:
            serve(says("READY\n", close=True)).build(job, up, down, down)

    assert "timed out" in quick(build)


def test_a_one_off_that_is_refused_without_a_status(serve: Any) -> None:
    assert "timed out" in quick(lambda: Attached(serve(says(close=True)), "dynoctl-run-shop.1", ("true",), ""))


def refused(before: float, after: float) -> Callable[[paramiko.Channel], None]:
    """Refuse root: the reason on stderr, the end of output after ``before`` seconds, the exit status ``after`` that."""

    def talk(channel: paramiko.Channel) -> None:
        channel.sendall_stderr(b"sudo: a password is required\n")
        time.sleep(before)
        channel.shutdown_write()
        time.sleep(after)
        channel.send_exit_status(1)
        channel.close()

    return talk


@pytest.mark.parametrize(("before", "after"), [(0, 0), (0, SOON), (1.3, 0)])
def test_a_stream_without_root_says_so(
    serve: Any, monkeypatch: pytest.MonkeyPatch, before: float, after: float
) -> None:
    """Whether its reason comes early or its exit status late."""
    server = serve(refused(before, after))
    monkeypatch.setattr(session, "STATUS", LIMIT)
    said = quick(lambda: list(Stream(server, "true", {}).lines()))
    assert "cannot become root without a password: sudo: a password is required" in said


@pytest.mark.parametrize("after", [0, SOON])
def test_a_lock_without_root_says_so(serve: Any, monkeypatch: pytest.MonkeyPatch, after: float) -> None:
    server = serve(refused(0, after))
    monkeypatch.setattr(session, "STATUS", LIMIT)
    said = quick(lambda: LockedShell(server, "shop", "me").lock())
    assert "cannot become root without a password: sudo" in said


def test_a_lock_that_is_not_answered(serve: Any) -> None:
    assert quick(lambda: LockedShell(serve(says(), answers=False), "shop", "somebody"))


def test_a_silent_network_ends_the_connection(serve: Any) -> None:
    """A write to a network that was cut waits in the kernel, where no limit of a channel counts."""
    transport = serve(says())._channels.first.transport
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        pytest.skip("only Linux has this limit")
    assert transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
