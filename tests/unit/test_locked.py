"""The shell that holds a lock, before a server that prints without an end or never answers."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from infra.errors import Unreachable
from infra.model.provider import Fragment
from infra.model.resource import Command
from infra.model.shell import StepFailed
from infra.remote import limits
from infra.remote.channel import reason
from infra.remote.locked import LockedShell

PIECE = b"y" * 32768


class Channel:
    """A channel whose other end answers each script with what ``answer`` yields."""

    def __init__(self, answer: Callable[[str], Iterator[bytes]]) -> None:
        self._answer, self._pieces = answer, iter(())

    def sendall(self, data: bytes) -> None:
        self._pieces = self._answer(data.decode())

    def recv(self, size: int) -> bytes:
        piece = next(self._pieces, None)
        if piece is None:
            raise TimeoutError
        return piece

    def recv_stderr_ready(self) -> bool:
        return False

    def settimeout(self, seconds: float) -> None: ...
    def shutdown_write(self) -> None: ...
    def close(self) -> None: ...


class Session:
    name = "grid-1"

    def __init__(self, answer: Callable[[str], Iterator[bytes]]) -> None:
        self._answer = answer

    def channel(self, *_: Any) -> Channel:
        return Channel(self._answer)

    def lost(self, error: BaseException) -> Unreachable:
        return Unreachable(f"grid-1: connection lost: {error}")


def shell(flood: Callable[[str], Iterator[bytes]]) -> LockedShell:
    def answer(script: str) -> Iterator[bytes]:
        opened = re.search(r"nonce=([0-9a-f]{24})\n", script)
        if "lock.beat" in script and opened:
            yield f"\n{opened[1]} open\n".encode()
        elif (found := re.search(r"'([0-9a-f]{24})' \$status", script)) or (
            found := re.search(r"printf '\\n%s end\\n' '([0-9a-f]{24})'", script)
        ):
            yield from flood(found[1])

    return LockedShell(Session(answer), "shop", "me")  # type: ignore[arg-type]


def test_a_heartbeat_that_breaks_is_no_silence_of_its_whole_patience() -> None:
    """A server that lost its power a second ago was said to have sent no heartbeat for 45 s."""

    def answer(script: str) -> Iterator[bytes]:
        opened = re.search(r"nonce=([0-9a-f]{24})\n", script)
        if re.fullmatch("[0-9]+\n", script):
            begun.wait(60)
            raise OSError("Socket is closed")
        yield f"\n{opened[1] if opened else ''} open\n".encode()

    class Eager(Channel):
        def sendall(self, data: bytes) -> None:
            self._pieces = iter(list(self._answer(data.decode())))

    class Fragile(Session):
        def channel(self, *_: Any) -> Channel:
            return Eager(answer)

        def lost(self, error: BaseException) -> Unreachable:
            return Unreachable(f"grid-1: connection lost: {reason(error)}")

    begun = threading.Event()
    held = LockedShell(Fragile(answer), "shop", "me")  # type: ignore[arg-type]
    begun.set()
    with pytest.raises(Unreachable) as lost:
        held.run([Command(("true",), timeout=60)])
    assert str(lost.value) == "grid-1: connection lost: the connection was closed"
    assert lost.value.hint == "check the network and run apply again; it continues from the current state"


STEP = Command(("seq", "10"), label="migrate", timeout=5)


@pytest.mark.parametrize("piece", [PIECE, b"yes\n" * 16384, b"\n" * 32768])
def test_the_last_lines_of_a_step_that_prints_much_are_kept(piece: bytes) -> None:
    def flood(nonce: str) -> Iterator[bytes]:
        for _ in range(100 if piece == PIECE else 20):
            yield piece
        yield f"the end\n\n{nonce} 0 3\n\n{nonce} end 3\n".encode()

    with pytest.raises(StepFailed) as failed:
        shell(flood).run([STEP])
    assert failed.value.output.endswith("the end") and failed.value.status == 3
    assert len(failed.value.output) <= limits.STEP and "MiB before this are left out" in failed.value.output


def test_a_step_that_prints_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def flood(nonce: str) -> Iterator[bytes]:
        while True:
            yield b"y\n" * 100

    began, clock = time.monotonic(), time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: began + (clock() - began) * 20)
    with pytest.raises(Unreachable, match="grid-1: migrate: timed out"):
        shell(flood).run([STEP])


def test_an_observation_without_an_end_is_an_error() -> None:
    def flood(nonce: str) -> Iterator[bytes]:
        while True:
            yield PIECE + b"\n"

    with pytest.raises(limits.OutputTooLarge, match="grid-1: observation: the output is larger than 16 MiB"):
        shell(flood).observe({"facts": Fragment("echo y\n")})
