"""A socket that one thread closes while another uses it keeps its descriptor until nobody does."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator

import pytest

from infra.remote import dial
from infra.remote.steady_socket import SteadySocket


@pytest.fixture
def pair() -> Iterator[tuple[SteadySocket, socket.socket]]:
    ours, theirs = socket.socketpair()
    steady = SteadySocket(fileno=ours.detach())
    yield steady, theirs
    steady.close()
    theirs.close()


def test_the_descriptor_is_nobody_elses_while_it_is_in_use(pair: tuple[SteadySocket, socket.socket]) -> None:
    steady, theirs = pair
    number = steady.fileno()
    with steady.in_use():
        with steady.in_use():
            steady.close()
            steady.close()
            with socket.socket() as another:
                assert another.fileno() != number
        assert steady.fileno() == number
        assert theirs.recv(1) == b"", "the other side sees the end at once"
    assert steady.fileno() == -1
    with socket.socket() as another:
        assert another.fileno() == number


def test_whoever_waits_sees_the_end(pair: tuple[SteadySocket, socket.socket]) -> None:
    steady, theirs = pair
    steady.settimeout(60)
    got: list[bytes] = []
    some = threading.Event()

    def read() -> None:
        while piece := steady.recv(10):
            got.append(piece)
            some.set()

    reader = threading.Thread(target=read)
    reader.start()
    theirs.sendall(b"last words")
    assert some.wait(10)
    steady.close()
    reader.join(10)
    assert not reader.is_alive() and got == [b"last words"] and steady.fileno() == -1


def test_what_has_arrived_is_read_in_any_pieces(pair: tuple[SteadySocket, socket.socket]) -> None:
    steady, theirs = pair
    data = bytes(range(256)) * 400
    threading.Thread(target=lambda: (theirs.sendall(data), theirs.shutdown(socket.SHUT_WR))).start()
    got = b""
    for size in itertools.cycle((1, 16, 3, 40_000, 0, 500)):
        piece = steady.recv(size)
        assert len(piece) <= size
        if size and not piece:
            break
        got += piece
    assert got == data and steady.recv(1) == b""


def test_a_closed_one_is_not_used(pair: tuple[SteadySocket, socket.socket]) -> None:
    steady, theirs = pair
    steady.close()
    for use in (lambda: steady.recv(1), lambda: steady.send(b"x"), lambda: steady.shutdown(socket.SHUT_RDWR)):
        with pytest.raises(OSError, match="closed"):
            use()
    assert theirs.recv(1) == b""


def test_a_command_in_place_of_a_socket_runs_until_it_is_closed() -> None:
    piped = dial._through("sh -c 'echo hello; exec cat'")
    piped.settimeout(10)
    said = b""
    while not said.endswith(b"hello\n"):
        said += piped.recv(3)
    for word in (b"one", b"two"):
        assert piped.send(word) == 3 and piped.recv(100) == word
    assert piped.process.poll() is None
    piped.close()
    piped.process.wait(10)
