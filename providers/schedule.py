"""A schedule: a timer and the unit of the dyno that it starts; with a queue, also a unit in between that waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.manifest.model import Schedule as Wanted
from infra.model import naming, paths
from infra.model.provider import Fragment, Scope
from infra.model.resource import Action, Attributes, Change, Command, Found
from infra.model.sandbox import HELPER
from providers import briefs, credentials, drop_ins, files, ini, observed_units, shown, timer_moves, unit
from providers.base import Base
from providers.dyno_unit import DynoUnit, exec_line, file_systems, in_service, inside, launched, percent

PATIENCE = 60
"""Seconds that a current run has to finish before the schedule is removed, or cannot move."""

_TAKEN = "a process type with that name runs on the server"


class Schedule(Base):
    kind = "schedule"
    alone = True
    headline = ("timer.Timer.OnCalendar", "unit.Service.ExecStart", "unit.Service.TimeoutStartSec", "state")
    brief = briefs.SCHEDULE

    def observe(self, scope: Scope) -> Fragment:
        return observed_units.shared(scope.app)

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        units = observed_units.read(output)
        paused = units.lines("paused")
        found: dict[str, Found] = {}
        files_, others = _files(units.texts)
        for other in others:
            if (dyno := _dyno(scope.app, other.removesuffix(".service"))) is not None:
                found[f"{scope.app}-{dyno}"] = Found({}, blocked=_TAKEN)
        for name in dict.fromkeys([*map(_base, files_), *shown.orphans(units.states, ".timer")]):
            if (dyno := _dyno(scope.app, name)) is None:
                continue
            due = f"{name}-due.service"
            names = [f"{name}.timer", f"{name}.service"] + [due] * (due in units.texts)
            state = _state(units.state(names[0]), stale=units.outdated(*names))
            timer, service = map(units.settings, names[:2])
            marks = [settings.get(f"Unit.{naming.APP}") for settings in (service, timer) if settings]
            found[f"{scope.app}-{dyno}"] = Found(
                {
                    "unit": service,
                    "timer": timer,
                    "due": units.settings(due),
                    "drop_ins": units.drop_ins(*names),
                    "enabled": units.state(names[0]).get("UnitFileState") == "enabled",
                    "state": "paused" if state == "stopped" and dyno in paused else state,
                },
                foreign=bool(marks) and scope.app not in marks,  # empty files have no mark, and nobody else's either
            )
        return found

    def triggers(self, change: Change) -> bool:
        return False

    def dormant(self, attributes: Attributes) -> bool:
        return attributes.get("state") in ("stopped", "paused")

    def rehearse(self, scope: Scope, change: Change) -> Sequence[Command]:
        return [timer_moves.rehearse(scope.app, change)]

    def pause(self, scope: Scope, change: Change) -> Sequence[Command]:
        return [timer_moves.pause(scope.app, change, PATIENCE, unit.STOP_TIMEOUT)]

    def resume(self, scope: Scope, change: Change) -> Sequence[Command]:
        return [timer_moves.resume(scope, change)]

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        name, dyno = naming.user_name(scope.app, str(change.resource.dyno)), change.resource.dyno
        service, timer, due = f"{name}.service", f"{name}.timer", f"{name}-due.service"
        before = change.before or {}
        if change.after is None:
            left = (timer_moves.stamp(name), timer_moves.marker(scope.app, str(dyno)))
            stop = ("sh", "-c", _STOP, "stop", name, str(PATIENCE), *left)
            limit = PATIENCE + unit.STOP_TIMEOUT
            own = [service] if before.get("unit") else []
            empty = ("sh", "-c", _REMOVE_EMPTY, "empty", f"{paths.UNITS}/{service}", service)
            return [
                Command(stop, timeout=limit, label=f"stop the schedule {dyno}"),
                files.stop(timer, *own, due, timeout=limit, label=f"stop {timer}"),
                *([] if own else [Command(empty, timeout=limit, label=f"remove {service} if it is empty")]),
                files.stop_slice(scope.app, *own),
                files.remove(*files.unit_files(timer, *own, due), label=f"remove {timer}"),
                files.systemctl("daemon-reload"),
            ]
        commands = []
        if change.before is None or before.get("drop_ins"):
            commands.append(drop_ins.revert(timer, service, due))
        for file, settings in ((service, "unit"), (timer, "timer"), (due, "due")):
            wanted = change.after[settings]
            assert isinstance(wanted, Mapping)  # noqa: S101  # for mypy
            path = f"{paths.UNITS}/{file}"
            if wanted:
                text = ini.render({key: str(value) for key, value in wanted.items()})
                commands.append(files.write(path, text, "0644", label=f"write {file}"))
            elif before.get(settings):
                commands.append(files.remove(path))
        commands.append(files.systemctl("daemon-reload"))
        # A restart is of a change that was cut off: its files may be in place and its timer not.
        cut_off = change.action is Action.RESTART or change.triggered
        if cut_off or set(change.differing()) - {"unit", "due", "drop_ins"} or before.get("state") != "waiting":
            commands.append(timer_moves.start(scope, change))
        return commands

    def files(self, scope: Scope, change: Change) -> Sequence[str]:
        name = naming.user_name(scope.app, str(change.resource.dyno))
        return [f"{paths.UNITS}/{name}{suffix}" for suffix in (".service", ".timer", "-due.service")]

    def undo(self, scope: Scope, change: Change) -> Sequence[Command]:
        """The stamp stays, so that a run that was missed meanwhile is made up for."""
        timer = f"{naming.user_name(scope.app, str(change.resource.dyno))}.timer"
        verb = "restart" if (change.before or {}).get("state") in ("waiting", "outdated", "paused") else "stop"
        label = f"{verb} {timer} as before"
        return [files.systemctl("daemon-reload"), files.systemctl(verb, timer, label=label)]


def attributes(dyno: DynoUnit, schedule: Wanted) -> Attributes:
    """The desired attributes of ``schedule.APP-NAME.1``."""
    name = naming.user_name(dyno.app, dyno.dyno)
    queue = schedule.concurrency == "queue"
    return {
        "unit": _service(dyno, schedule),
        "timer": _timer(dyno.app, name, schedule),
        "due": _due(dyno.app, name) if queue else {},
        "drop_ins": (),
        "enabled": True,
        "state": "waiting",
    }


def _service(dyno: DynoUnit, schedule: Wanted) -> dict[str, str]:
    name = naming.user_name(dyno.app, dyno.dyno)
    mount = paths.mount_unit(dyno.app, dyno.slug, dyno.mounts)
    return {
        "Unit.Description": f"{schedule.name} of {dyno.app}",
        f"Unit.{naming.APP}": dyno.app,
        f"Unit.{naming.DYNO}": dyno.dyno,
        f"Unit.{naming.CPU}": str(dyno.cpu),
        f"Unit.{naming.SCHEDULE}": schedule.when,
        "Unit.Wants": "network-online.target",
        "Unit.Requires": mount,
        "Unit.After": f"network-online.target {mount}",
        **file_systems(dyno, dyno.dyno),
        "Service.Type": "oneshot",
        "Service.User": name,
        "Service.Group": name,
        **inside(dyno, dyno.dyno, {"DYNO": dyno.dyno}, paths.env_file(dyno.app, dyno.dyno)),
        **credentials.load(paths.credentials(dyno.app, dyno.dyno), dyno.credentials),
        "Service.ExecStart": exec_line(launched(dyno, dyno.argv)),
        "Service.TimeoutStartSec": str(schedule.timeout),
        "Service.SyslogIdentifier": f"{dyno.app}-{dyno.dyno}",
        # Without a quota of its own it has what others leave, and at most a core, as it is never alone on its server.
        **(
            {"Service.CPUQuota": percent(dyno.cpu)}
            if dyno.cpu
            else {"Service.CPUQuota": "100%", "Service.CPUWeight": "1"}
        ),
    }


def _timer(app: str, name: str, schedule: Wanted) -> dict[str, str]:
    due = f"{name}-due.service" if schedule.concurrency == "queue" else f"{name}.service"
    return {
        "Unit.Description": f"{schedule.name} of {app}, {schedule.when}",
        f"Unit.{naming.APP}": app,
        # Keeps the service loaded between runs with a queue, or systemd would forget the result of the last run.
        "Unit.After": f"{name}.service",
        "Timer.OnCalendar": "\n".join(schedule.calendar),
        "Timer.Unit": due,
        "Timer.AccuracySec": "1s",
        # Times missed while the server was off are made up for by one run.
        "Timer.Persistent": "yes",
        "Install.WantedBy": "timers.target",
    }


def _due(app: str, name: str) -> dict[str, str]:
    return {
        "Unit.Description": f"{name} once its last run has ended",
        f"Unit.{naming.APP}": app,
        "Service.Type": "oneshot",
        "Service.TimeoutStartSec": "infinity",
        "Service.ExecStart": exec_line(["/bin/sh", "-c", _WAIT, "due", f"{name}.service"]),
        **in_service(HELPER),
    }


def _files(texts: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The files of schedules, and those of services that are none."""
    ours, others = [], []
    for file, text in texts.items():
        if file.endswith((".timer", "-due.service")):
            ours.append(file)
        elif not file.endswith(".service") or file.endswith("-ready.service"):
            continue
        elif f"\n{naming.SCHEDULE}=" in f"\n{text}":
            ours.append(file)
        elif text:
            others.append(file)
        elif f"{file.removesuffix('.service')}.timer" in texts:
            ours.append(file)  # a power cut may have left an empty file; its timer tells what it was
    return ours, others


def _base(file: str) -> str:
    """The unit that a file belongs to, without its suffix."""
    return file.rpartition(".")[0].removesuffix("-due")


def _dyno(app: str, name: str) -> str | None:
    found = naming.UNIT_NAME.match(name)
    if found is None or name != f"dyno-{app}-{found['type']}-{found['number']}":
        return None
    return f"{found['type']}.{found['number']}"


def _state(timer: shown.Unit, *, stale: bool) -> str:
    if timer.get("ActiveState") != "active":
        return "stopped"
    return "outdated" if stale else "waiting"


# A current run may finish; no new run starts meanwhile. What stays active is stopped by the next command.
_STOP = """\
systemctl --no-reload disable "$1.timer" 2>/dev/null
systemctl stop "$1.timer" "$1-due.service" 2>/dev/null
left=$2
while [ "$left" -gt 0 ] && [ "$(systemctl show -p ActiveState --value "$1.service")" = activating ]; do
  sleep 1; left=$((left - 1))
done
rm -f "$3" "$4" || exit
[ ! -d "${4%/*}" ] || rmdir --ignore-fail-on-non-empty "${4%/*}"
"""

# A service without the mark of a schedule is that of a process type with its name, unless it is empty.
_REMOVE_EMPTY = """\
[ ! -s "$1" ] || exit 0
systemctl stop "$2" 2>/dev/null
! systemctl is-active -q "$2" || { echo "$2 still runs"; exit 1; }
rm -f -- "$1"
"""

# Times that come while this waits lead to a single run, as systemd does not start a starting unit again.
_WAIT = (
    'while [ "$(systemctl show -p ActiveState --value "$1")" = activating ]; do sleep 1; done; '
    'exec systemctl start --no-block "$1"'
)
