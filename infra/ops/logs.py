"""Read the journals of all servers, then follow them; a lost connection is opened again."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from infra.errors import Unreachable
from infra.fleet.ask import ask_servers, summaries
from infra.fleet.reconnect import stay_connected
from infra.model.target import Target
from infra.ops.journal import EVERYTHING, Line, Merger, Reader, Wanted, merge, slice_of
from infra.remote.quote import PRELUDE, assign
from infra.remote.session import Session
from infra.remote.stream import Stream

AHEAD = 5000
"""Lines that may wait for the reader of ``follow``."""

RECENT = 64
"""Last lines of a server that are remembered: journalctl may print a line twice when the journal is rotated."""

TIMEOUT = 120
"""Timeout in seconds for reading the journal of a server."""


@dataclass(frozen=True)
class Query:
    """Which lines to read: the ``last`` lines of all servers together (None: all), none before ``since`` (seconds since
    1970)."""

    app: str
    wanted: Wanted = EVERYTHING
    last: int | None = 100
    since: float | None = None


@dataclass(frozen=True)
class Found:
    """The lines in order; the dynos found on any server; by server, the cursor or time from which to follow; and why
    some servers are unreachable. The caller closes ``sessions``."""

    lines: Sequence[Line]
    dynos: frozenset[str]
    starts: Mapping[str, str]
    lost: Mapping[str, str]
    sessions: Mapping[str, Session]


def read(query: Query, targets: Sequence[Target]) -> Found:
    """Read the journals of all servers in parallel, with one script per server."""
    script = PRELUDE + assign(_values(query)) + _SHOW + _HISTORY

    def ask(session: Session) -> tuple[list[Line], set[str], str]:
        return _parse(query, session.name, session.run(script, TIMEOUT).stdout)

    sessions: dict[str, Session] = {}
    answers, errors = ask_servers(targets, ask, keep=sessions)
    dynos = frozenset(dyno for _, dynos, _ in answers.values() for dyno in dynos)
    starts = {name: lines[-1].cursor if lines else start for name, (lines, _, start) in answers.items()}
    merged = merge((lines for lines, _, _ in answers.values()), query.last)
    return Found(merged, dynos, starts, summaries(errors), sessions)


def _parse(query: Query, server: str, text: str) -> tuple[list[Line], set[str], str]:
    """The lines, the dynos found, and the server's time when it was read. Raises Unreachable."""
    reader = Reader(query.app, server)
    lines: list[Line] = []
    dynos: set[str] = set()
    start = problem = ""
    ended = False
    for row in text.split("\n"):
        if row.startswith("{"):
            if (line := reader.read(row)) is not None and line.dyno in query.wanted:
                lines.append(line)
            continue
        key, _, rest = row.partition(" ")
        if key == "unit":
            if (dyno := reader.dyno(rest)) is not None:
                dynos.add(dyno)
        elif key == "now" and rest:
            start = f"@{rest}"
        elif key == "end":
            ended = rest == "0"
        else:
            problem = row.strip() or problem
    if not ended:
        raise Unreachable(f"cannot read the journal of {server}: {problem or 'the output was cut off'}")
    return lines, dynos, start


@dataclass(frozen=True)
class Lost:
    """A server became unreachable, or is from the start; ``why`` is the reason."""

    server: str
    why: str


@dataclass(frozen=True)
class Reconnected:
    """An unreachable server is reachable again."""

    server: str


Event = Line | Lost | Reconnected


def follow(
    query: Query, targets: Sequence[Target], found: Found, watch: Callable[[], None] = lambda: None
) -> Iterator[Event]:
    """Every new line, in order, without an end. An unreachable server is retried until it is reachable, and continues
    after its last line. ``watch`` is called a few times a second."""
    events: queue.Queue[Event] = queue.Queue(AHEAD)
    for target in targets:
        session, start = found.sessions.get(target.name), found.starts.get(target.name, f"@{int(time.time())}")
        why = found.lost.get(target.name, "")
        arguments = (query, target, session, start, why, events)
        threading.Thread(target=_listen, args=arguments, daemon=True, name=f"logs {target.name}").start()
    merger = Merger()
    while True:
        watch()
        new: list[Event] = []
        with suppress(queue.Empty):
            new.append(events.get(timeout=max(0.01, merger.wait(time.monotonic(), 0.25))))
            while len(new) < AHEAD:
                new.append(events.get_nowait())
        for event in new:
            if isinstance(event, Line):
                merger.add(event, time.monotonic())
            else:
                yield event
        yield from merger.due(time.monotonic())


def _listen(
    query: Query, target: Target, session: Session | None, start: str, why: str, events: queue.Queue[Event]
) -> None:
    """Follow one server until the process ends; runs in a thread of its own."""
    unreachable = bool(why)

    def lost(reason: str) -> None:
        nonlocal unreachable
        if not unreachable:
            events.put(Lost(target.name, reason))
        unreachable = True

    def read_lines(session: Session, answers: Callable[[], None]) -> None:
        nonlocal start, unreachable
        stream = Stream(session, _SHOW + _FOLLOW, _values(query) | {"start": start})
        reader, recent = Reader(query.app, target.name), deque([start], RECENT)
        for text in stream.lines():
            if text == b"listening":
                if unreachable:
                    events.put(Reconnected(target.name))
                unreachable = False
                answers()
            elif (line := reader.read(text)) is not None and line.cursor not in recent:
                start = line.cursor or start
                recent.append(start)
                if line.dyno in query.wanted:
                    events.put(line)
        raise Unreachable(f"the journal of {target.name} ended")

    if why:
        events.put(Lost(target.name, why))
    stay_connected(target, read_lines, lost, threading.Event(), session)


def _values(query: Query) -> dict[str, str]:
    return {
        "app": query.app,
        "pattern": query.wanted.pattern(query.app),
        "slice": slice_of(query.app),
        "every": "yes" if query.wanted == EVERYTHING else "",
        "last": "all" if query.last is None else str(query.last),
        "since": "" if query.since is None else f"@{query.since:.6f}",
    }


_SHOW = """\
show() {
  journalctl -q --no-pager --all -o json --output-fields=MESSAGE,PRIORITY,UNIT,_PID,_SYSTEMD_UNIT "$@"
}
"""

# systemd's own messages name the unit in UNIT=, which any process can set: so they are accepted from PID 1 only. The
# output of the app's processes is selected by their slice, which journald sets.
_HISTORY = """\
printf 'now '; date +%s.%N
units=$({ cd /etc/systemd/system && for file in "dyno-$app"-*.service; do printf '%s\\n' "$file"; done
  journalctl -q -F UNIT 2>/dev/null; } | sed -n 's/\\.service$//p' | grep -E -e "$pattern" | sort -u)
set --
for unit in $units; do
  printf 'unit %s\\n' "$unit"
  set -- "$@" "UNIT=$unit.service"
done
[ $# -eq 0 ] || set -- "$@" _PID=1 +
if [ -n "$every" ]; then
  set -- "$@" "_SYSTEMD_SLICE=$slice"
else
  for unit in $units; do set -- "$@" "_SYSTEMD_UNIT=$unit.service" "_SYSTEMD_UNIT=$unit-ready.service"; done
fi
status=0
if [ $# -gt 0 ] && [ "$last" != 0 ]; then
  [ -z "$since" ] || set -- --since="$since" "$@"
  show -n "$last" "$@" 2>&1
  status=$?
fi
printf 'end %d\\n' "$status"
"""

# Dynos may be added while it follows: so all lines of the app are sent, and filtered locally.
_FOLLOW = """\
case $start in @*) from="--since=$start" ;; *) from="--after-cursor=$start" ;; esac
echo listening
show --follow --no-tail "$from" _PID=1 + "_SYSTEMD_SLICE=$slice"
"""
