"""How far the journals of a server are read by ``logs --follow``: no line is lost, and none is shown twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from infra.errors import Unreachable
from infra.model.target import Target
from infra.ops import logs
from infra.ops.journal import Line, Reader
from infra.ops.log_history import Query
from infra.ops.logs import MISSED, RECENT, Progress
from infra.remote import limits, stream
from infra.remote.stream import Stream


def entry(number: int, message: str = "", **fields: str) -> bytes:
    unit = {"_SYSTEMD_UNIT": "dyno-shop-web-1.service", "_PID": "7"}
    own = {"MESSAGE": message or f"line {number}", "__CURSOR": f"s=1;i={number}", "__REALTIME_TIMESTAMP": f"{number}"}
    return json.dumps({**own, **unit, **fields}).encode()


def started(number: int) -> bytes:
    return entry(number, "Started web.1", _PID="1", UNIT="dyno-shop-web-1.service", _SYSTEMD_UNIT="init.scope")


def test_the_last_entry_of_the_quieter_journal_is_no_new_line() -> None:
    """It was shown again after each pause once it was no longer remembered, and a reconnect began with it."""
    progress = Progress(Reader("shop", "grid-1"), "@1")
    read = [progress.new(text) for text in (started(1), *(entry(number) for number in range(2, RECENT + 10)))]
    assert all(read) and progress.places == {"own": f"s=1;i={RECENT + 9}", "systems": "s=1;i=1"}
    assert progress.new(started(1)) is None
    assert progress.start == f"s=1;i={RECENT + 9}"


def test_what_is_asked_for_after_a_pause_is_remembered_until_it_has_come() -> None:
    progress = Progress(Reader("shop", "grid-1"), "@1")
    both = [*(entry(number) for number in range(MISSED)), *(started(number) for number in range(MISSED, 2 * MISSED))]
    assert all(progress.new(text) for text in both)
    assert not any(progress.new(text) for text in both)


def test_a_line_without_a_cursor_is_shown() -> None:
    progress = Progress(Reader("shop", "grid-1"), "@1")
    assert all(progress.new(entry(number, __CURSOR="")) for number in (1, 2))
    assert progress.places == {"own": "@1", "systems": "@1"}


class Answering:
    """A session whose answer to the question for missed lines is given."""

    def __init__(self, *rows: bytes) -> None:
        self.rows = rows

    def run(self, script: str, what: str) -> Any:
        return type("Output", (), {"stdout": "".join(f"{row.decode()}\n" for row in self.rows)})


def followed(monkeypatch: pytest.MonkeyPatch, session: Answering, *streams: list[bytes]) -> list[logs.Event]:
    """The events of one server, of which each connection prints one of the streams."""
    unread = iter(streams)

    class Printed:
        def __init__(self, *_: Any) -> None:
            self._lines = next(unread)

        def lines(self, pause: float) -> Iterator[bytes]:
            yield from self._lines

    def connect(target: object, work: Any, lost: Any, *rest: object) -> None:
        for _ in streams:
            with pytest.raises(Unreachable):
                work(session, lambda: None)

    monkeypatch.setattr(logs, "Stream", Printed)
    monkeypatch.setattr(logs, "stay_connected", connect)
    events = logs._Ahead(logs.AHEAD)
    logs._listen(Query("shop"), Target("grid-1", "10.0.0.11"), None, "@1", "", events)
    return [events.get() for _ in range(len(events.queue))]


def test_missed_lines_come_after_a_pause_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Answering(entry(1), entry(2))
    events = followed(monkeypatch, session, [b"listening", entry(1), b"", entry(2)], [b"listening", entry(2), entry(3)])
    assert [event.message for event in events if isinstance(event, Line)] == ["line 1", "line 2", "line 3"]


def test_a_line_that_is_too_long_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was left out with a warning, and shown whole after the pause."""
    long = entry(2, "x" * limits.LINE)
    session = Answering(entry(1), long)
    events = followed(monkeypatch, session, [b"listening", entry(1), long[: limits.LINE], b""])
    assert [type(event) for event in events] == [Line, logs.TooLong]


def test_a_pause_is_told_once_until_the_next_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each asks a server for lines that were missed, so one that is silent must not be asked for ever."""
    clock: Any = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(stream, "time", clock)
    reader = object.__new__(Stream)
    reader._nonce, reader._listening, reader._closed = "n", True, threading.Event()

    def pieces() -> Iterator[bytes]:
        for piece in (b"one\n", *[b""] * 20, b"t", b"wo\n", *[b""] * 20, b"\nn end\n"):
            clock.now += 1
            yield piece

    monkeypatch.setattr(reader, "_pieces", pieces)
    assert list(reader.lines(pause=5)) == [b"one", b"", b"two", b"", b""]
