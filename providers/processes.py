"""Reads the current state of an app's dynos, for ``ps``, ``top`` and the table at the end of an apply."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from infra.model import answer, merged_releases, naming, paths, release
from infra.model.dyno_status import REMOVED, Job, Row, unknown
from infra.model.provider import Fragment, Scope
from infra.model.release import Release
from providers import listeners, shown

_PROPERTIES = (
    "Id,ActiveState,SubState,MainPID,NRestarts,ActiveEnterTimestampMonotonic,CPUUsageNSec,MemoryCurrent,MemoryMax,"
    "BindReadOnlyPaths,Result,ExecMainCode,ExecMainStatus,ExecMainStartTimestampMonotonic,"
    "ExecMainExitTimestampMonotonic,NextElapseUSecRealtime"
)

_RESULTS = {
    "success": "ok",
    "timeout": "timed out",
    "oom-kill": "out of memory",
    "resources": "out of resources",
}
"""The names that we show for results of systemd; for others the exit status or signal is shown."""

TICKS = 100
"""Clock ticks per second in /proc (USER_HZ), the same on every Linux machine."""

_MARK = re.compile(r"^/etc/systemd/system/(?P<unit>[^/:]+):(?P<key>X-Dynoctl-\w+)=(?P<value>.*)$")
_PROCESS = re.compile(r"^/sys/fs/cgroup/.*/(?P<unit>[^/]+\.service)/cgroup\.procs:(?P<pid>\d+)$")
_RESIDENT = re.compile(r"^/proc/(?P<pid>\d+)/status:VmRSS:\s*(?P<kilobytes>[0-9]{1,15}) kB$")
_SPENT = re.compile(r"^/proc/(?P<pid>\d+)/stat:.*\) \w (?:-?\d+ ){10}(?P<user>[0-9]{1,18}) (?P<system>[0-9]{1,18}) ")


@dataclass
class _Parsed:
    """What the observation printed: unit properties as lines, everything else by name."""

    now: float = 0.0
    clock: float = 0.0
    resident: dict[str, int] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    ticks: dict[str, int] = field(default_factory=dict)
    marks: dict[tuple[str, str], str] = field(default_factory=dict)
    waiting: dict[tuple[str, int], int] = field(default_factory=dict)
    written: dict[str, float] = field(default_factory=dict)
    releases: list[Release] = field(default_factory=list)
    properties: list[str] = field(default_factory=list)
    applied: set[str] = field(default_factory=set)

    def read(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "now":
            self.now = answer.decimal(rest)
        elif word == "clock":
            self.clock = answer.decimal(rest)
        elif word == "applied":
            self.applied.add(rest)
        elif mark := _MARK.match(line):
            self.marks[(mark["unit"], mark["key"])] = mark["value"]
        elif process := _PROCESS.match(line):
            self.units[process["pid"]] = process["unit"]
        elif resident := _RESIDENT.match(line):
            self.resident[resident["pid"]] = int(resident["kilobytes"]) * 1024
        elif (spent := _SPENT.match(line)) and (unit := self.units.get(spent["pid"])):
            self.ticks[unit] = self.ticks.get(unit, 0) + int(spent["user"]) + int(spent["system"])
        elif word == "written":
            moment, _, file = rest.partition(" ")
            self.written[file] = answer.decimal(moment)
        elif found := listeners.parse(line):
            self.waiting.update(found)
        elif line.startswith("{"):
            self.releases += _release(line)
        else:
            self.properties.append(line)

    def since(self, moment: float) -> int:
        """Seconds since a moment. The time is the first thing that a server says, and what it is slow to say may have
        begun since."""
        return max(0, int(self.now - moment))

    def release_of(self, app: str, unit: str, dyno: str, slug: str) -> int:
        """The number of the release that a dyno runs: the newest with its slug, or 0 if none is known.

        During a rollout, and after an interrupted one, the dyno runs the newest release only if one of the dyno's files
        was written after that release was begun."""
        files = (f"{paths.UNITS}/{unit}", paths.env_file(app, dyno), paths.credentials(app, dyno))
        moved = max((self.written.get(file, 0.0) for file in files), default=0.0)
        known = [
            candidate
            for candidate in merged_releases.merge([self.releases])
            if candidate.ran and candidate.slug == slug
        ]
        for candidate in reversed(known[1:]):
            begun = self.written.get(paths.release_body(app, candidate.number), 0.0)
            if candidate.result == release.OK or moved >= begun:
                return candidate.number
        return known[0].number if known else 0


def _release(line: str) -> list[Release]:
    found = release.parse(answer.record(line))  # a damaged record is ignored
    return [] if found is None else [found]


class Processes:
    """Reads the processes of one app on one server, in one fragment."""

    kind = "processes"

    def observe(self, scope: Scope) -> Fragment:
        slice_ = f"dyno-{naming.escape(scope.app)}.slice"
        values = {"app": scope.app, "prefix": f"dyno-{scope.app}-", "slice": slice_, "properties": _PROPERTIES}
        return Fragment(_SCRIPT, values)

    def parse(self, scope: Scope, server: str, output: str) -> Sequence[Row]:
        """Every dyno of the app, in order."""
        parsed = _Parsed()
        for line in output.splitlines():
            parsed.read(line)
        units = shown.parse("\n".join(parsed.properties))
        found = []
        for unit, service in units.items():
            named = naming.UNIT_NAME.match(unit.removesuffix(".service"))
            if named is None or f"dyno-{scope.app}-{named['type']}-{named['number']}.service" != unit:
                continue
            ready = units.get(unit.replace(".service", "-ready.service"), {})
            timer = units.get(unit.replace(".service", ".timer"), {})
            dyno = f"{named['type']}.{named['number']}"
            found.append(_row(scope.app, server, dyno, unit, service=service, ready=ready, timer=timer, parsed=parsed))
        seen = {row.dyno for row in found}
        recorded = {name.removeprefix(f"{scope.app}-") for name in parsed.applied}
        gone = [dyno for dyno in recorded - seen if naming.DYNO_NAME.match(dyno)]
        found += [unknown(dyno, server, REMOVED) for dyno in gone]
        return sorted(found, key=lambda row: naming.dyno_order(row.dyno))


def _row(
    app: str,
    server: str,
    dyno: str,
    unit: str,
    *,
    service: shown.Unit,
    ready: shown.Unit,
    timer: shown.Unit,
    parsed: _Parsed,
) -> Row:
    when = parsed.marks.get((unit, naming.SCHEDULE))
    job = None if when is None else _job(when, service, timer, parsed)
    running = service.get("ActiveState") == ("active" if job is None else "activating")
    pid = service.get("MainPID", "0")
    memory, used = service.get("MemoryCurrent", ""), service.get("CPUUsageNSec", "")
    entered = "ActiveEnterTimestampMonotonic" if job is None else "ExecMainStartTimestampMonotonic"
    started = _whole(service.get(entered)) / 1e6
    port, listen = _number(parsed.marks, unit, naming.PORT), parsed.marks.get((unit, naming.LISTEN), "")
    found = re.search(r"/srv/dyno/[^/]+/([0-9a-f]{64}):/app\b", service.get("BindReadOnlyPaths", ""))
    slug = found[1] if found else ""
    ticks = parsed.ticks.get(unit)
    spent = answer.digits(used)
    seconds = spent / 1e9 if spent is not None else None if ticks is None else ticks / TICKS
    most = service.get("MemoryMax", "")
    waiting = parsed.waiting.get((listeners.address(listen), port)) if port else None
    listening = not port or waiting is not None
    idles = listening and (unit, naming.IDLE) in parsed.marks
    return Row(
        server=server,
        dyno=dyno,
        port=port,
        listen=listen,
        state=_state(service, ready, listening=listening, idles=idles)
        if job is None
        else _schedule_state(service, timer),
        slug=slug,
        pid=(answer.digits(pid) or None) if running else None,
        uptime=parsed.since(started) if running else None,
        memory=(parsed.resident.get(pid) if (size := answer.digits(memory)) is None else size) if running else None,
        restarts=_whole(service.get("NRestarts")),
        release=parsed.release_of(app, unit, dyno, slug),
        share=_number(parsed.marks, unit, naming.CPU),
        memory_max=answer.digits(most),
        cpu_seconds=seconds if running else None,
        waiting=waiting,
        job=job,
    )


def _job(when: str, service: shown.Unit, timer: shown.Unit, parsed: _Parsed) -> Job:
    began = _whole(service.get("ExecMainStartTimestampMonotonic")) / 1e6
    ended = _whole(service.get("ExecMainExitTimestampMonotonic")) / 1e6
    next_run = _moment(timer.get("NextElapseUSecRealtime", ""))
    next_ = None
    if timer.get("ActiveState") == "active":  # systemd has no next time while the schedule is running
        next_ = 0 if next_run is None else max(0, int(next_run - parsed.clock))
    if not ended or ended < began:  # it has not run yet, or runs for the first time
        return Job(when, next=next_)
    return Job(when, _result(service), parsed.since(ended), int(ended - began), next_)


def _result(service: shown.Unit) -> str:
    result, status = service.get("Result", ""), service.get("ExecMainStatus", "0")
    if result in _RESULTS:
        return _RESULTS[result]
    if result == "exit-code":
        return f"failed with {status}"
    number = answer.digits(status)
    if result in ("signal", "core-dump") and number is not None:
        try:
            return f"ended by {signal.Signals(number).name}"
        except ValueError:
            return f"ended by signal {status}"
    return result or "unknown"


def _moment(text: str) -> float | None:
    """systemd's ``Tue 2026-11-24 03:00:00 UTC`` in seconds since 1970, or None if ``text`` is not a time."""
    try:
        return datetime.strptime(text, "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _schedule_state(service: shown.Unit, timer: shown.Unit) -> str:
    """The state of a schedule."""
    if service.get("ActiveState") in ("activating", "deactivating"):
        return "running"
    return "waiting" if timer.get("ActiveState") == "active" else "stopped"


def _number(parsed: Mapping[tuple[str, str], str], unit: str, key: str) -> int:
    return answer.digits(parsed.get((unit, key), "")) or 0


def _whole(text: str | None) -> int:
    """A number of systemd; 0 if it has none, or something else."""
    return answer.digits(text or "") or 0


def _state(service: shown.Unit, ready: shown.Unit, *, listening: bool, idles: bool) -> str:
    state = service.get("ActiveState", "")
    if service.get("SubState") == "auto-restart":
        return "crashed"
    if state == "active" and not listening:
        return "not listening"
    if state == "active":
        return {"active": "up", "activating": "starting"}.get(ready.get("ActiveState", ""), "not answering")
    if state == "inactive" and idles:
        return "idle"
    return {"failed": "failed", "activating": "starting", "deactivating": "stopping"}.get(state, "down")


# CPU time and memory come from systemd. If it does not account them (control groups v1), they come from /proc, read by
# a single grep, which is faster than reading in the shell.
_SCRIPT = (
    shown.NAMED
    + """\
read -r now _ < /proc/uptime; printf 'now %s\\n' "$now"
"""
    + f"home={paths.STATE}/$app\n"
    + """\
for file in "$home"/applied/unit.*.json; do
  [ -e "$file" ] && { file=${file##*/unit.}; printf 'applied %s\\n' "${file%.json}"; }
done
grep -Hs '^X-Dynoctl-' /etc/systemd/system/"$prefix"*.service || exit 0
set --
for file in /etc/systemd/system/"$prefix"*.service /etc/systemd/system/"$prefix"*.timer; do
  [ -e "$file" ] && named "$file" && set -- "$@" "${file##*/}"
done
case $* in *.timer*) printf 'clock '; date +%s ;; esac
TZ=UTC systemctl show -p "$properties" -- "$@"
set --
for file in /sys/fs/cgroup/unified/dyno.slice/"$slice"/*.service/cgroup.procs; do
  [ -e "$file" ] || continue
  while read -r pid; do
    printf '%s:%s\\n' "$file" "$pid"
    set -- "$@" "/proc/$pid/status" "/proc/$pid/stat"
  done < "$file"
done 2>/dev/null
[ $# -eq 0 ] || grep -Hs -e '^VmRSS:' -e ') [A-Za-z] ' "$@"
"""
    + listeners.LIST
    + """\
cat "$home"/releases/*.json 2>/dev/null
stat -c 'written %.Y %n' /etc/systemd/system/"$prefix"*.service /etc/dyno/"$app"/* "$home"/releases/*.body 2>/dev/null
:
"""
)
