"""Read the journals of all servers: what is there, and then what comes, past connections that break."""

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
"""Lines that are read before whoever prints them must follow."""

RECENT = 64
"""Lines of a server that are known again: journalctl prints one twice at times, when its files change under it."""

TIMEOUT = 120
"""Seconds that a server has to read its journal."""


@dataclass(frozen=True)
class Query:
    """What is asked for. ``last`` lines over all servers (None: all), none before ``since`` (seconds since 1970)."""

    app: str
    wanted: Wanted = EVERYTHING
    last: int | None = 100
    since: float | None = None


@dataclass(frozen=True)
class Found:
    """The lines in order; the dynos that some server knows; where following goes on, by server; and why some servers
    did not answer. ``sessions`` are open, and the caller's to close."""

    lines: Sequence[Line]
    dynos: frozenset[str]
    starts: Mapping[str, str]
    lost: Mapping[str, str]
    sessions: Mapping[str, Session]


def read(query: Query, targets: Sequence[Target]) -> Found:
    """What the journals hold now: one script on each server, all at once."""
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
    """Its lines, the dynos that it knows, and the moment at which it was asked. Raises Unreachable."""
    reader = Reader(query.app, server)
    lines: list[Line] = []
    dynos: set[str] = set()
    start = problem = ""
    ended = False
    for one in text.split("\n"):
        if one.startswith("{"):
            if (line := reader.read(one)) is not None and line.dyno in query.wanted:
                lines.append(line)
            continue
        word, _, rest = one.partition(" ")
        if word == "unit":
            if (dyno := reader.dyno(rest)) is not None:
                dynos.add(dyno)
        elif word == "now" and rest:
            start = f"@{rest}"
        elif word == "end":
            ended = rest == "0"
        else:
            problem = one.strip() or problem
    if not ended:
        raise Unreachable(f"{server}: its journal cannot be read: {problem or 'its answer was cut off'}")
    return lines, dynos, start


@dataclass(frozen=True)
class Went:
    """A server does not answer any more, or not yet; ``why`` says the reason."""

    server: str
    why: str


@dataclass(frozen=True)
class Back:
    """A server that went answers again."""

    server: str


Event = Line | Went | Back


def follow(
    query: Query, targets: Sequence[Target], found: Found, watch: Callable[[], None] = lambda: None
) -> Iterator[Event]:
    """Every line that comes, in order, without an end; a server that goes away is tried again until it is back, and
    goes on where it was. ``watch`` is called a few times a second."""
    events: queue.Queue[Event] = queue.Queue(AHEAD)
    for target in targets:
        session, start = found.sessions.get(target.name), found.starts.get(target.name, f"@{int(time.time())}")
        why = found.lost.get(target.name, "")
        arguments = (query, target, session, start, why, events)
        threading.Thread(target=_listen, args=arguments, daemon=True, name=f"logs {target.name}").start()
    merger = Merger()
    while True:
        watch()
        came: list[Event] = []
        with suppress(queue.Empty):
            came.append(events.get(timeout=max(0.01, merger.wait(time.monotonic(), 0.25))))
            while len(came) < AHEAD:
                came.append(events.get_nowait())
        for event in came:
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
            events.put(Went(target.name, reason))
        unreachable = True

    def read_lines(session: Session, answers: Callable[[], None]) -> None:
        nonlocal start, unreachable
        stream = Stream(session, _SHOW + _FOLLOW, _values(query) | {"start": start})
        reader, recent = Reader(query.app, target.name), deque([start], RECENT)
        for text in stream.lines():
            if text == b"listening":
                if unreachable:
                    events.put(Back(target.name))
                unreachable = False
                answers()
            elif (line := reader.read(text)) is not None and line.cursor not in recent:
                start = line.cursor or start
                recent.append(start)
                if line.dyno in query.wanted:
                    events.put(line)
        raise Unreachable(f"{target.name}: its journal ended")

    if why:
        events.put(Went(target.name, why))
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

# What systemd itself says names the unit in UNIT=, which any process can write: so it must come from PID 1. All that an
# app's processes print is told by their slice, which the journal sets.
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

# Dynos may come while it follows: so all of the app is sent, and chosen from on this side.
_FOLLOW = """\
case $start in @*) from="--since=$start" ;; *) from="--after-cursor=$start" ;; esac
echo listening
show --follow --no-tail "$from" _PID=1 + "_SYSTEMD_SLICE=$slice"
"""
