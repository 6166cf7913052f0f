"""How the timer of a schedule starts, and how it moves to another server: no scheduled time is lost or served twice.

systemd keeps the time at which a persistent timer elapsed last as the mtime of a stamp file, and catches up on later
times when the timer starts. So a schedule that moves takes its stamp along, by the clock of the server that it
leaves."""

from __future__ import annotations

import re
from collections.abc import Mapping

from infra.model import naming, paths
from infra.model.provider import Scope
from infra.model.resource import Attributes, Change, Command

STAMPS = "/var/lib/systemd/timers"
"""The directory of systemd's stamps."""

SKEW = 60
"""Seconds by which the clock of the server that a schedule comes from may be ahead: so long does the other one wait."""

_MOMENT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
"""Seconds since 1970, as ``stat`` prints them."""


def stamp(name: str) -> str:
    """The path of the stamp of a timer; ``name`` is without its suffix."""
    return f"{STAMPS}/stamp-{name}.timer"


def marker(app: str, dyno: str) -> str:
    """The path of the file that says that the timer was stopped in order to start on another server."""
    return f"{paths.moving(app)}/{dyno}"


def start(scope: Scope, change: Change) -> Command:
    """Enable and start the timer."""
    return _start(scope.app, change, _since(scope, change), "start")


def rehearse(app: str, change: Change) -> Command:
    """Check that the schedule can be created."""
    dyno = str(change.resource.dyno)
    file = f"{paths.UNITS}/{naming.user_name(app, dyno)}.service"
    argv = ("sh", "-c", _REHEARSE, "rehearse", file, STAMPS, *_calendar(change.after).split("\n"))
    return Command(argv, label=f"check that {dyno} can start")


def pause(app: str, change: Change, patience: int, limit: int) -> Command:
    """Stop the timer, and print the time to continue from and its calendar. ``patience`` are the seconds that a current
    run has to finish, and ``limit`` those for everything else."""
    dyno = str(change.resource.dyno)
    name = naming.user_name(app, dyno)
    argv = ("sh", "-c", _PAUSE, "pause", name, str(patience), stamp(name), paths.moving(app), dyno)
    return Command((*argv, _line(_calendar(change.before))), timeout=patience + limit, label=f"pause {dyno}")


def resume(scope: Scope, change: Change) -> Command:
    """Start a paused timer again."""
    return _start(scope.app, change, _moment(scope, change, _calendar(change.before)), "resume")


def _start(app: str, change: Change, since: str, verb: str) -> Command:
    """``since`` is the time to start from, as ``touch -d`` takes it; "" is that of the stamp."""
    dyno = str(change.resource.dyno)
    name = naming.user_name(app, dyno)
    argv = ("sh", "-c", _START, "start", f"{name}.timer", stamp(name), since, marker(app, dyno), str(SKEW))
    return Command(argv, timeout=60 + SKEW, label=f"{verb} {name}.timer")


def _since(scope: Scope, change: Change) -> str:
    """The time that a timer starts from.

    A schedule that moves continues from its last time on the other server, and so does one whose move was interrupted.
    A new schedule starts from now, and so does a new calendar: neither applies to the past."""
    before, calendar = change.before or {}, _calendar(change.after)
    if str(change.resource.dyno) in scope.handed:
        return _moment(scope, change, calendar) or "now"
    continues = before.get("state") in ("waiting", "outdated", "paused") and _calendar(before) == calendar
    return "" if continues else "now"


def _moment(scope: Scope, change: Change, calendar: str) -> str:
    """The last time on the other server, if it is valid and the calendar there was the same; otherwise ""."""
    moment, _, there = scope.handed.get(str(change.resource.dyno), "").partition(" ")
    return f"@{moment}" if _MOMENT.fullmatch(moment) and there == _line(calendar) else ""


def _calendar(attributes: Attributes | None) -> str:
    timer = (attributes or {}).get("timer")
    return str(timer.get("Timer.OnCalendar", "")) if isinstance(timer, Mapping) else ""


def _line(calendar: str) -> str:
    return calendar.replace("\n", "|")


# systemd ignores a stamp in the future: the timer would serve again what it has just served on the other server.
_START = """\
if [ -n "$3" ]; then
  mkdir -p "${2%/*}" && touch -d "$3" "$2" || exit
  ahead=$(($(stat -c %Y "$2") - $(date +%s)))
  if [ "$3" != now ] && [ "$ahead" -ge 0 ]; then
    [ "$ahead" -lt "$5" ] || { echo "the clock is $ahead s behind the one of the server that it comes from"; exit 1; }
    sleep $((ahead + 1))
  fi
fi
systemctl enable -q "$1" && systemctl restart "$1" && rm -f "$4" || exit
[ ! -d "${4%/*}" ] || rmdir --ignore-fail-on-non-empty "${4%/*}"
"""

# Whether the server has space for the unit, and its systemd answers and accepts the calendar. The temporary file is the
# one of the unit itself, so that an interrupted check leaves nothing that would not be replaced.
_REHEARSE = """\
new=$1.dynoctl-new stamps=$2; shift 2
mkdir -p "${new%/*}" "$stamps" && printf '%8192s' '' > "$new"; status=$?
rm -f -- "$new"
[ $status -eq 0 ] || exit $status
[ -w "$stamps" ] || { echo "$stamps is read-only"; exit 1; }
systemd-analyze calendar "$@" >/dev/null && systemctl show -p Version >/dev/null
"""

# The marker comes first: if this is interrupted, the stamp still has the time to continue from. A time that waits for
# the end of the current run moves, too: the stamp is set to just before it. The current run may finish.
_PAUSE = """\
timer=$1.timer service=$1.service due=$1-due.service left=$2 stamp=$3 marker=$4/$5
if [ "$(systemctl show -p ActiveState --value "$timer")" = active ]; then
  mkdir -p "$4" && : > "$marker" && sync "$marker" || exit
fi
systemctl --no-reload disable "$timer" 2>/dev/null
systemctl stop "$timer" || exit
if [ "$(systemctl show -p ActiveState --value "$due")" = activating ]; then
  trap '' HUP INT TERM
  systemctl stop "$due" && touch -d "@$(($(stat -c %Y "$stamp") - 2))" "$stamp" || exit
  trap - HUP INT TERM
fi
while [ "$(systemctl show -p ActiveState --value "$service")" = activating ]; do
  [ "$left" -gt 0 ] || { echo "its current run has not ended after $2 s"; exit 1; }
  sleep 1; left=$((left - 1))
done
[ ! -e "$marker" ] || printf '%s %s\\n' "$(stat -c %.Y "$stamp")" "$6"
"""
