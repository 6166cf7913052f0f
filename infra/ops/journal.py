"""The log lines of an app's dynos, parsed from the servers' journals and merged by time."""

from __future__ import annotations

import heapq
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, field
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import Any

from infra.errors import DynoctlError
from infra.model import naming
from infra.model.paths import ROUTER_SERVICE
from infra.ops import router_log

BLOCK = 1000
"""Lines that are written to a temporary file at once."""

IN_MEMORY = 4 << 20
"""Bytes of lines that are kept in memory."""

ON_DISK = 4 << 30
"""Bytes of lines that are kept in a temporary file."""

WINDOW = 0.25
"""Seconds that a line is held back, as older lines of other servers may arrive late."""

ROUTER = "router"
"""Where a line names its dyno, the routers' lines have this."""

LONGEST_CURSOR = 1000
"""Characters of a cursor; systemd's have about 150."""

_DYNO = r"(?P<type>[a-z][a-z0-9]*)-(?P<number>[1-9][0-9]{0,8})(?P<ready>-ready)?"
_MICROSECONDS = re.compile(r"[0-9]{1,17}")
_PRIORITIES = frozenset("01234567")
_ONE_OFF = r"(?P<kind>[a-z]+)-(?P<of>[a-z][a-z0-9-]*)\.(?P<nonce>[A-Za-z0-9]+)"


@dataclass(frozen=True)
class Line:
    """One line. ``time`` is in microseconds since 1970, by the server's clock. ``source`` is ``app`` for the dyno,
    ``health`` for its health check, ``systemd`` for messages of systemd about it. Requests to a router have ``router``
    as their dyno and ``dynoctl`` as their source. ``cursor`` is its place in the journal."""

    time: int
    server: str
    dyno: str
    source: str
    message: str
    cursor: str = ""
    priority: int = 6


@dataclass(frozen=True)
class Wanted:
    """The selected dynos, by name or by type. If none is named, all are selected, one-off dynos included."""

    types: tuple[str, ...] = ()
    dynos: tuple[str, ...] = ()

    def __contains__(self, dyno: object) -> bool:
        everything = not self.types and not self.dynos
        return everything or dyno in self.dynos or str(dyno).partition(".")[0] in self.types

    @property
    def router(self) -> bool:
        """Whether the requests of the routers are selected."""
        return ROUTER in self

    def pattern(self, app: str) -> str:
        """A regular expression (extended) for the unit names of the dynos and one-off dynos, without ``.service``."""
        names = [f"{type_}-[1-9][0-9]*" for type_ in self.types] + [name.replace(".", "-") for name in self.dynos]
        one_off = [f"{type_}-{app}[.][0-9]+" for type_ in self.types]
        one_off += [name.replace(".", f"-{app}[.]") for name in self.dynos]
        others = f"|^dynoctl-({'|'.join(one_off)})$" if one_off else ""
        return f"^dyno-{app}-({'|'.join(names) or '[a-z][a-z0-9]*-[1-9][0-9]*'})${others}"


EVERYTHING = Wanted()


class Reader:
    """Parses the journals of one server, as ``journalctl -o json`` prints them. ``own`` is the cursor of the last entry
    of the app's journal, and ``systems`` of the server's."""

    def __init__(self, app: str, server: str) -> None:
        self.own = self.systems = ""
        self._server = server
        self._app = app
        self._dyno = re.compile(rf"dyno-{re.escape(app)}-{_DYNO}\.service")
        self._one_off = re.compile(rf"dynoctl-{_ONE_OFF}\.service")

    def read(self, text: bytes | str) -> Line | None:
        """Parse one line; None if it is not an entry, or not of this app."""
        try:
            entry = json.loads(text)
            message = _text(entry.get("MESSAGE")) if isinstance(entry, dict) else ""
        except (ValueError, RecursionError):  # too deep, from a server that is not what it seems
            return None
        if not isinstance(entry, dict):
            return None
        unit = _string(entry.get("_SYSTEMD_UNIT"))
        by_systemd, cursor = _string(entry.get("_PID")) == "1", _cursor(entry)
        if by_systemd or unit == ROUTER_SERVICE:
            self.systems = cursor or self.systems
        else:
            self.own = cursor or self.own
        if unit == ROUTER_SERVICE:
            line = router_log.read(self._app, _string(entry.get("SYSLOG_IDENTIFIER")), message)
            return None if line is None else self._line(entry, ROUTER, "dynoctl", line)
        named = self._named(_string(entry.get("UNIT")) if by_systemd else unit)
        if named is None:
            return None
        dyno, source = named
        if by_systemd and source != "app":
            return None  # the start and end of the health check are reported by the unit of the dyno itself
        return self._line(entry, dyno, "systemd" if by_systemd else source, message)

    def _line(self, entry: Mapping[str, Any], dyno: str, source: str, message: str) -> Line | None:
        time, priority = _string(entry.get("__REALTIME_TIMESTAMP")), _string(entry.get("PRIORITY"))
        if not _MICROSECONDS.fullmatch(time):
            return None
        return Line(
            time=int(time),
            server=self._server,
            dyno=dyno,
            source=source,
            message=message,
            cursor=_cursor(entry),
            priority=int(priority) if priority in _PRIORITIES else 6,
        )

    def dyno(self, unit: str) -> str | None:
        """The dyno of a unit (named without ``.service``); None if the unit is not of this app."""
        named = self._named(f"{unit}.service")
        return None if named is None else named[0]

    def _named(self, unit: str) -> tuple[str, str] | None:
        if found := self._dyno.fullmatch(unit):
            return f"{found['type']}.{found['number']}", "health" if found["ready"] else "app"
        if (found := self._one_off.fullmatch(unit)) and found["of"] == self._app:
            return f"{found['kind']}.{found['nonce']}", "app"
        return None


def _cursor(entry: Mapping[str, Any]) -> str:
    cursor = _string(entry.get("__CURSOR"))
    return cursor if len(cursor) < LONGEST_CURSOR else ""


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _text(value: object) -> str:
    """A message: text, a list of bytes if it is not UTF-8, or a list of messages. "" if it is empty."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        if all(isinstance(byte, int) and 0 <= byte < 256 for byte in value):
            return bytes(value).decode(errors="replace")
        return "\n".join(_text(item) for item in value)
    return ""


def in_order(servers: Iterable[Iterable[Line]], *, backwards: bool = False) -> Iterator[Line]:
    """The lines of all servers by time, of which no more than one per server is held. The lines of one server stay in
    the order of its journal, even if its clock was set back. ``backwards``: the newest line comes first, of each server
    and of all."""
    keyed = [_keyed(number, lines, backwards) for number, lines in enumerate(servers)]
    for *_, line in heapq.merge(*keyed, key=lambda item: item[:3], reverse=backwards):
        yield line


def _keyed(number: int, lines: Iterable[Line], backwards: bool) -> Iterator[tuple[int, int, int, Line]]:
    last: int | None = None
    for index, line in enumerate(lines):
        last = line.time if last is None else min(last, line.time) if backwards else max(last, line.time)
        yield last, number, -index if backwards else index, line


def newest(backwards: Iterable[Line], count: int) -> Iterator[Line]:
    """The first ``count`` lines, the last of them first. They are kept in a temporary file if they are many. Raises
    DynoctlError if they are too many."""
    offsets: list[int] = []
    block: list[Line] = []
    size = 0
    with SpooledTemporaryFile(IN_MEMORY) as file:
        for line in islice(backwards, count):
            block.append(line)
            size += len(line.message) + len(line.dyno) + len(line.server)
            if len(block) >= BLOCK or size > IN_MEMORY:
                offsets.append(file.tell())
                if offsets[-1] > ON_DISK:
                    raise DynoctlError(
                        f"the last {count} lines are larger than {ON_DISK >> 30} GiB",
                        "read fewer with --lines, or stream them all with --since",
                    )
                file.write(json.dumps([astuple(one) for one in block]).encode() + b"\n")
                block, size = [], 0
        yield from reversed(block)
        for offset in reversed(offsets):
            file.seek(offset)
            yield from (Line(*values) for values in reversed(json.loads(file.readline())))


@dataclass
class Merger:
    """Merges lines that arrive from several servers by time. Each is held back for ``window`` seconds, as an older line
    may arrive late."""

    window: float = WINDOW
    _heap: list[tuple[int, int, Line]] = field(default_factory=list)
    _arrived: deque[tuple[float, int]] = field(default_factory=deque)
    _newest: dict[str, int] = field(default_factory=dict)
    _count: int = 0

    def add(self, line: Line, now: float) -> None:
        key = self._newest[line.server] = max(line.time, self._newest.get(line.server, 0))
        self._count += 1
        heapq.heappush(self._heap, (key, self._count, line))
        self._arrived.append((now, key))

    def due(self, now: float) -> Iterator[Line]:
        """The lines that were held back long enough, and all older lines."""
        until = -1
        while self._arrived and self._arrived[0][0] + self.window <= now:
            until = max(until, self._arrived.popleft()[1])
        while self._heap and self._heap[0][0] <= until:
            yield heapq.heappop(self._heap)[2]

    def rest(self) -> Iterator[Line]:
        """All remaining lines."""
        return self.due(float("inf"))

    def wait(self, now: float, most: float) -> float:
        """Seconds until a line is due, at most ``most``."""
        return min(most, max(0.0, self._arrived[0][0] + self.window - now)) if self._arrived else most


def slice_of(app: str) -> str:
    """The slice of all processes of the app, and of nothing else."""
    return f"dyno-{naming.escape(app)}.slice"
