"""What the journals of all servers hold, as one stream in order of time, of which next to nothing is kept in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from infra.errors import DynoctlError, Unreachable
from infra.fleet.ask import ask_servers, summaries
from infra.model import naming
from infra.model.paths import ROUTER_SERVICE
from infra.model.target import Target
from infra.ops.journal import EVERYTHING, Line, Reader, Wanted, in_order, newest, slice_of
from infra.remote import limits
from infra.remote.session import Session
from infra.remote.stream import Stream

PATIENCE = 120
"""Seconds that a server may search its journal without a line."""

IGNORED = 64 << 20
"""Bytes of lines that are no entries of the app."""


@dataclass(frozen=True)
class Query:
    """Which lines to read: the ``last`` lines of all servers together (None: all), none before ``since`` (seconds since
    1970)."""

    app: str
    wanted: Wanted = EVERYTHING
    last: int | None = 100
    since: float | None = None


class History:
    """The journal of one server, read while it is sent. ``dynos`` are those that it knows, ``start`` is the cursor or
    time from which to follow it, and ``long`` is the number of entries that were too long to read."""

    def __init__(self, query: Query, session: Session, *, backwards: bool) -> None:
        self.server = session.name
        self.dynos: set[str] = set()
        self.start = ""
        self.long = 0
        self._query, self._backwards = query, backwards
        self._reader = Reader(query.app, session.name)
        self._stream = Stream(session, SHOW + _HISTORY, values(query) | {"reverse": "-r" if backwards else ""})
        self._rows = self._stream.lines(PATIENCE)
        self._ignored = 0
        self._problem = ""

    def begin(self) -> None:
        """Read what comes before the entries. Raises DynoctlError."""
        for row in self._rows:
            key, _, rest = row.decode(errors="replace").partition(" ")
            if key == "entries":
                return
            self._ignore(row)
            if key == "unit":
                if (dyno := self._reader.dyno(rest)) is not None:
                    self.dynos.add(dyno)
            elif key == "now" and rest:
                self.start = f"@{rest}"
            else:
                self._problem = rest or self._problem
        raise self._unreadable()

    def __iter__(self) -> Iterator[Line]:
        """The entries of the app. Raises DynoctlError."""
        first = True
        for row in self._rows:
            if row.startswith(b"{"):
                line = self._reader.read(row)
                if line is None or len(row) >= limits.LINE:
                    self.long += len(row) >= limits.LINE
                    self._ignore(row)
                    continue
                if first or not self._backwards:
                    self.start = line.cursor or self.start
                first = False
                if line.dyno in self._query.wanted:
                    yield line
            elif row == b"end 0":
                return
            elif row.startswith(b"end "):
                break
            else:
                self._ignore(row)
                self._problem = row.decode(errors="replace").strip()[-300:] or self._problem
        raise self._unreadable()

    def close(self) -> None:
        self._stream.close()

    def _ignore(self, row: bytes) -> None:
        self._ignored += len(row) + 1
        if self._ignored > IGNORED:
            raise limits.OutputTooLarge(self.server, "journalctl, other than entries of the app", IGNORED)

    def _unreadable(self) -> Unreachable:
        return Unreachable(f"cannot read the journal of {self.server}: {self._problem or 'the output was cut off'}")


@dataclass(frozen=True)
class Found:
    """The lines of all servers in order, to be read once. ``lost`` is why servers are unreachable; more may be added
    while the lines are read. The caller closes ``sessions``."""

    lines: Iterator[Line]
    histories: Mapping[str, History]
    lost: dict[str, str]
    sessions: Mapping[str, Session]

    @property
    def dynos(self) -> frozenset[str]:
        """The dynos that any server knows."""
        return frozenset(dyno for history in self.histories.values() for dyno in history.dynos)

    @property
    def starts(self) -> Mapping[str, str]:
        """By server, the cursor or time from which to follow, once all lines are read."""
        return {name: history.start for name, history in self.histories.items()}

    @property
    def long(self) -> Mapping[str, int]:
        """By server, the number of entries that were too long to read, if there are any."""
        return {name: history.long for name, history in self.histories.items() if history.long}


def read(query: Query, targets: Sequence[Target]) -> Found:
    """Begin to read the journals of all servers in parallel, with one script per server.

    The last lines of several servers are not known before the newest of each, so these are read backwards; and so are
    the last requests to one app, as a router logs those to all apps."""
    backwards = query.last is not None and (len(targets) > 1 or query.wanted.router)

    def ask(session: Session) -> History:
        history = History(query, session, backwards=backwards)
        try:
            history.begin()
        except BaseException:
            history.close()
            raise
        return history

    sessions: dict[str, Session] = {}
    histories, errors = ask_servers(targets, ask, keep=sessions)
    lost = summaries(errors)
    return Found(_lines(query, histories, lost, backwards), histories, lost, sessions)


def _lines(query: Query, histories: Mapping[str, History], lost: dict[str, str], backwards: bool) -> Iterator[Line]:
    def of(history: History) -> Iterator[Line]:
        try:
            yield from history
        except DynoctlError as error:
            lost[history.server] = error.summary

    try:
        lines = in_order([of(history) for history in histories.values()], backwards=backwards)
        yield from newest(lines, query.last or 0) if backwards else lines
    finally:
        for history in histories.values():
            history.close()


def values(query: Query) -> dict[str, str]:
    return {
        "app": query.app,
        "namespace": naming.log_namespace(query.app),
        "pattern": query.wanted.pattern(query.app),
        "slice": slice_of(query.app),
        "router": ROUTER_SERVICE if query.wanted.router else "",
        "every": "yes" if query.wanted == EVERYTHING else "",
        "last": "all" if query.last is None else str(query.last),
        "since": "" if query.since is None else f"@{query.since:.6f}",
    }


# The app's journal, and the server's own: it has what systemd says of the units, and older lines of the app. The
# variable ``journal`` selects one of them.
SHOW = """\
show() {
  journalctl -q --no-pager --all --namespace="${journal-+$namespace}" -o json \\
    --output-fields=MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,UNIT,_PID,_SYSTEMD_UNIT "$@"
}
"""

# systemd's own messages name the unit in UNIT=, which any process can set: so they are accepted from PID 1 only, and
# the names found there, of units that logged nothing themselves, are limited. The output of the app's processes is
# selected by their slice, which journald sets.
_HISTORY = """\
printf 'now '; date +%s.%N
of_app() { sed -n 's/\\.service$//p' | grep -E -e "$pattern" | head -n "$1"; }
units=$({ { cd /etc/systemd/system && for file in "dyno-$app"-*.service; do printf '%s\\n' "$file"; done
  journalctl -q --namespace="+$namespace" -F _SYSTEMD_UNIT 2>/dev/null; } | of_app 5000
  journalctl -q --namespace="+$namespace" -F UNIT 2>/dev/null | of_app 500; } | sort -u)
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
if [ -n "$router" ]; then
  [ $# -eq 0 ] || set -- "$@" +
  set -- "$@" "_SYSTEMD_UNIT=$router"
fi
printf 'entries\\n'
[ -z "$since" ] || [ $# -eq 0 ] || set -- --since="$since" "$@"
found() { show "$@" 2>&1; printf 'end %d\\n' $?; }
# A router logs the requests to all apps, and its own messages. What is left of them is selected when it is read.
own() {
  sed '/"_SYSTEMD_UNIT":"'"$router"'"/{
    /"MESSAGE":"app='"$app"' /b
    /\\\\"user_id\\\\":\\\\"app='"$app"' /!d
  }'
}
some() { head -n "$last"; echo 'end 0'; }
if [ $# -eq 0 ] || [ "$last" = 0 ]; then echo 'end 0'
elif [ -z "$router" ]; then found $reverse -n "$last" "$@"
elif [ "$last" = all ]; then found -n all "$@" | own
else found -r -n all "$@" | own | some
fi
"""
