"""Follow the journals of all servers from where reading them ended; a lost connection is opened again."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from infra.errors import DynoctlError, Unreachable
from infra.fleet.reconnect import stay_connected
from infra.model.target import Target
from infra.ops.journal import Line, Merger, Reader
from infra.ops.log_history import SHOW, Found, Query, values
from infra.remote import limits
from infra.remote.quote import PRELUDE, assign
from infra.remote.session import Session
from infra.remote.stream import Stream

AHEAD = 4 << 20
"""Bytes of lines that may wait for the reader of ``follow``; about 10,000 lines."""

RECENT = 256
"""Last lines of a server that are remembered, as journalctl may print a line twice when the journal is rotated. Each
takes about 300 bytes, which count with a thousand servers."""

MISSED = RECENT // 4
"""Lines of a journal that are asked for after a pause. journalctl misses one; those after it may also still come."""

PAUSE = 5
"""Seconds without a line after which a server is asked for lines that journalctl missed."""


@dataclass(frozen=True)
class Lost:
    """A server became unreachable, or is from the start; ``why`` is the reason."""

    server: str
    why: str


@dataclass(frozen=True)
class Reconnected:
    """An unreachable server is reachable again."""

    server: str


@dataclass(frozen=True)
class TooLong:
    """A server sent an entry that was too long to read."""

    server: str


Event = Line | Lost | Reconnected | TooLong


class _Ahead(queue.Queue[Event]):
    """Events that wait. They are limited by their size, as one may have a megabyte; ``_qsize`` is what the queue
    compares with its limit, and with 0 to see whether it is empty."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._size = 0

    def _qsize(self) -> int:
        return self._size

    def _put(self, item: Event) -> None:
        super()._put(item)
        self._size += _size(item)

    def _get(self) -> Event:
        item = super()._get()
        self._size -= _size(item)
        return item


def _size(event: Event) -> int:
    return 400 + (len(event.message) if isinstance(event, Line) else 0)


def follow(
    query: Query, targets: Sequence[Target], found: Found, watch: Callable[[], None] = lambda: None
) -> Iterator[Event]:
    """Every new line, in order, without an end. An unreachable server is retried until it is reachable, and continues
    after its last line. ``watch`` is called a few times a second."""
    events = _Ahead(AHEAD)
    for target in targets:
        session, start = found.sessions.get(target.name), found.starts.get(target.name, f"@{int(time.time())}")
        why = found.lost.get(target.name, "")
        arguments = (query, target, session, start, why, events)
        threading.Thread(target=_listen, args=arguments, daemon=True, name=f"logs {target.name}").start()
    merger = Merger()
    while True:
        watch()
        new: list[Event] = []
        size = 0
        with suppress(queue.Empty):
            new.append(events.get(timeout=max(0.01, merger.wait(time.monotonic(), 0.25))))
            while (size := size + _size(new[-1])) < AHEAD:
                new.append(events.get_nowait())
        for event in new:
            if isinstance(event, Line):
                merger.add(event, time.monotonic())
            else:
                yield event
        yield from merger.due(time.monotonic())


class Progress:
    """How far the journals of one server are read. ``start`` is the place of the last line, from which a lost
    connection goes on; at first it is a cursor or a time."""

    def __init__(self, reader: Reader, start: str) -> None:
        self.start = start
        self._reader = reader
        self._first = start
        self._recent = dict.fromkeys([start])

    @property
    def places(self) -> dict[str, str]:
        """Where to go on in each journal: with its last entry, or from the start."""
        return {"own": self._reader.own or self._first, "systems": self._reader.systems or self._first}

    def new(self, text: bytes) -> Line | None:
        """Parse a line of journalctl; None if it is not a line of the app, or was read before."""
        # The last entry of the quieter journal may be older than what is remembered.
        last = (self._reader.own, self._reader.systems)
        line = self._reader.read(text)
        if line is None or (line.cursor and (line.cursor in self._recent or line.cursor in last)):
            return None
        if line.cursor:
            self.start = line.cursor
            self._recent[line.cursor] = None
            if len(self._recent) > RECENT:
                del self._recent[next(iter(self._recent))]
        return line


def _listen(query: Query, target: Target, session: Session | None, start: str, why: str, events: _Ahead) -> None:
    """Follow one server until the process ends; runs in a thread of its own."""
    unreachable = bool(why)

    def lost(reason: str) -> None:
        nonlocal unreachable
        if not unreachable:
            events.put(Lost(target.name, reason))
        unreachable = True

    progress = Progress(Reader(query.app, target.name), start)

    def take(text: bytes) -> None:
        if len(text) >= limits.LINE:
            events.put(TooLong(target.name))
        elif (line := progress.new(text)) is not None and line.dyno in query.wanted:
            events.put(line)

    def read_lines(session: Session, answers: Callable[[], None]) -> None:
        nonlocal unreachable
        stream = Stream(session, SHOW + _FOLLOW, values(query) | {"start": progress.start})
        for text in stream.lines(pause=PAUSE):
            if text == b"listening":
                if unreachable:
                    events.put(Reconnected(target.name))
                unreachable = False
                answers()
            elif text == b"":
                with suppress(DynoctlError):  # the stream reports it if the connection is lost
                    missed = session.run(missed_script(values(query) | progress.places), what="the last lines").stdout
                    for row in missed.encode().splitlines():
                        if len(row) < limits.LINE:  # the stream has told of it
                            take(row)
            else:
                take(text)
        raise Unreachable(f"the journal of {target.name} ended")

    if why:
        events.put(Lost(target.name, why))
    stay_connected(target, read_lines, lost, threading.Event(), session)


def missed_script(variables: Mapping[str, str]) -> str:
    """A script that prints what came after the places that were read."""
    return PRELUDE + assign(variables) + SHOW + _MISSED


# Dynos may be added while it follows: so all lines of the app are sent, and filtered locally. If the entry of a cursor
# is gone or not selected, --after-cursor of systemd 252 leaves out another. --cursor begins with the one that was read.
_FOLLOW = """\
case $start in @*) from="--since=$start" ;; *) from="--cursor=$start" ;; esac
echo listening
set -- _PID=1 + "_SYSTEMD_SLICE=$slice"
[ -z "$router" ] || set -- "$@" + "_SYSTEMD_UNIT=$router"
show --follow --no-tail "$from" "$@"
"""

# journald counts an entry before it links it to its fields, by which journalctl selects it. One that is read in between
# is passed over until the next entry of the same journal is written. Each journal is read from its own last entry.
_MISSED = f"""\
after() {{
  case $1 in @*) from="--since=$1" ;; *) from="--cursor=$1" ;; esac
  shift
  show "$from" "$@" | head -n {MISSED}
}}
journal=$namespace after "$own" "_SYSTEMD_SLICE=$slice"
set -- _PID=1
[ -z "$router" ] || set -- "$@" + "_SYSTEMD_UNIT=$router"
journal= after "$systems" "$@"
"""
