"""A dyno's systemd unit, with the companion that raises its CPU quota until it is healthy."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from infra.model import answer, naming, paths
from infra.model.provider import Fragment, Scope
from infra.model.resource import Action, Attributes, Change, Command, Effect, Found
from providers import briefs, drop_ins, failure, files, idle, ini, listeners, observed_units, shown
from providers.base import Base

READY_TIMEOUT = 60
"""Seconds within which a dyno must become healthy."""

STOP_TIMEOUT = 90
"""systemd's default for TimeoutStopSec, in seconds."""


class Unit(Base):
    kind = "unit"
    headline = (
        "unit.Unit.X-Dynoctl-Listen",
        "unit.Unit.X-Dynoctl-Port",
        "unit.Service.User",
        "unit.Service.BindReadOnlyPaths",
        "unit.Service.ExecStart",
        "unit.Service.CPUQuota",
        "unit.Service.MemoryMax",
        "enabled",
        "state",
    )
    brief = briefs.DYNO

    def observe(self, scope: Scope) -> Fragment:
        return observed_units.shared(scope.app)

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        found = observed_units.read(output)
        # What runs without a file, and a companion whose service is gone, are ours as well.
        names = [*found.names(".service"), *shown.orphans(found.states, ".service")]
        units: dict[str, Found] = {}
        for file in dict.fromkeys(name.removesuffix("-ready") for name in names):
            named = naming.UNIT_NAME.match(file)
            if named is None or file != f"dyno-{scope.app}-{named['type']}-{named['number']}":
                continue
            dyno = f"{named['type']}.{named['number']}"
            settings = found.settings(f"{file}.service")
            if not settings and f"{file}.timer" in found.texts:
                continue  # an empty file of a schedule
            service, companion = f"{file}.service", f"{file}-ready.service"
            state, ready = found.state(service), found.state(companion)
            attributes: dict[str, str | bool | tuple[str, ...] | Mapping[str, str]] = {
                "unit": settings,
                "ready": found.settings(companion),
                "drop_ins": found.drop_ins(service, companion),
                "enabled": state.get("UnitFileState") == "enabled",
                "state": _state(state, ready, stale=found.outdated(service, companion), idles=idle.may_be(settings)),
            }
            quota = _quota(state.get("CPUQuotaPerSecUSec", ""))
            booting = ready.get("ActiveState") != "active"
            attributes["cpu"] = settings.get("Service.CPUQuota", "") if booting else quota
            units[f"{scope.app}-{dyno}"] = Found(attributes, foreign=not is_ours(settings, scope.app, dyno))
            if f"Unit.{naming.SCHEDULE}" in settings:
                units[f"{scope.app}-{dyno}"] = Found({}, blocked="a schedule with that name exists on the server")
        return units

    def spontaneous(self, found: Attributes) -> Collection[str]:
        return ("state",) if found.get("state") in ("crashing", "failed", "not answering") else ()

    def effect(self, change: Change) -> Effect | None:
        if change.after is None:
            return Effect.STOP
        running = change.before is not None and change.before.get("state") in ("running", "outdated", "not answering")
        if change.action is not Action.RESTART and not change.triggered and running and _needs_no_restart(change):
            return None
        return Effect.RESTART if running else Effect.START

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        unit = naming.user_name(scope.app, str(change.resource.dyno))
        service, ready = f"{unit}.service", f"{unit}-ready.service"
        file, ready_file = f"{paths.UNITS}/{service}", f"{paths.UNITS}/{ready}"
        dyno = change.resource.dyno
        if change.after is None:
            limit = _stop_timeout(change.before) + 60
            return [
                files.stop(service, ready, f"{unit}.socket", timeout=limit, label=f"stop {dyno}"),
                files.stop_slice(scope.app, service),
                files.remove(*files.unit_files(service, ready), label=f"remove {service}"),
                files.systemctl("daemon-reload"),
            ]
        wanted, ready_wanted = change.after["unit"], change.after["ready"]
        assert isinstance(wanted, Mapping) and isinstance(ready_wanted, Mapping)  # noqa: S101  # for mypy
        commands = []
        if change.action is not Action.RESTART:
            found, enable = change.before or {}, "enable" if change.after["enabled"] else "disable"
            if change.before is None or found.get("drop_ins"):
                commands.append(drop_ins.revert(service, ready))
            commands += [
                files.write(file, ini.render(_text(wanted)), "0644", label=f"write {service}"),
                files.write(ready_file, ini.render(_text(ready_wanted)), "0644", label=f"write {ready}"),
                # Enabled first: since version 254 systemd says of every unit that it is outdated until the next reload.
                files.systemctl("--no-reload", enable, service, label=f"{enable} {service}"),
                files.systemctl("daemon-reload"),
            ]
        if self.effect(change) is None:
            quota = str(change.after["cpu"])
            commands.append(files.systemctl("set-property", "--runtime", service, f"CPUQuota={quota}"))
            if "ready" in change.differing():
                # A dyno need not restart for another health check, but it must pass it.
                limit = _start_timeout(change.after) + 60
                label = f"check the health of {dyno}"
                again = ("sh", "-c", idle.unless(change, idle.CHECK), "check", unit)
                commands.append(Command(again, timeout=limit, label=label, health=True))
            return commands
        # Restarting the companion too waits until the dyno is healthy, so the command's status is the dyno's health.
        verb = str(self.effect(change))
        label = f"{verb} {dyno}"
        # Its restarts count from here. A restart while it crashes resets nothing before version 254 of systemd.
        commands.append(Command(("sh", "-c", 'systemctl reset-failed "$1" 2>/dev/null; :', "reset", service)))
        if f"Unit.{naming.PORT}" in wanted:
            limit, open_ = _stop_timeout(change.before) + 60, ("sh", "-c", idle.unless(change, _OPEN), "open", unit)
            commands.append(Command(open_, timeout=limit, label=f"open the socket of {dyno}"))
        limit = int(str(ready_wanted["Service.TimeoutStartSec"])) + _stop_timeout(change.before) + 60
        if f"Unit.{naming.PORT}" in wanted:
            again = ("sh", "-c", idle.unless(change, _RESTART), "restart", unit)
            commands.append(Command(again, timeout=limit, label=label, health=True))
        else:
            commands.append(files.systemctl("restart", service, ready, timeout=limit, label=label, health=True))
        return commands

    def files(self, scope: Scope, change: Change) -> Sequence[str]:
        unit = naming.user_name(scope.app, str(change.resource.dyno))
        return (f"{paths.UNITS}/{unit}.service", f"{paths.UNITS}/{unit}-ready.service")

    def undo(self, scope: Scope, change: Change) -> Sequence[Command]:
        unit = naming.user_name(scope.app, str(change.resource.dyno))
        label = f"restart {change.resource.dyno} as before"
        limit = _start_timeout(change.before) + _stop_timeout(change.after) + 60
        again = ("sh", "-c", idle.as_before(change, _AS_BEFORE), "restart", unit)
        restart = Command(again, timeout=limit, label=label, health=True)
        stop = Command(("sh", "-c", _END, "end", unit), timeout=limit, label=f"stop {change.resource.dyno}")
        # What was not up before may have no unit that systemd could restart, so the new process is stopped by itself.
        return [files.systemctl("daemon-reload"), *([] if change.restarts else [stop]), restart]

    def alive(self, scope: Scope, change: Change) -> Command | None:
        if change.after is None:
            return None
        unit = naming.user_name(scope.app, str(change.resource.dyno))
        label = f"check that {change.resource.dyno} stays healthy"
        limit = _start_timeout(change.after) + _stop_timeout(change.after) + 60
        return Command(("sh", "-c", _ALIVE, "alive", unit), timeout=limit, label=label, health=True)

    def explain(self, scope: Scope, change: Change) -> Command | None:
        unit = naming.user_name(scope.app, str(change.resource.dyno))
        return failure.read(scope.app, unit)


def _start_timeout(attributes: Attributes | None) -> int:
    """Seconds within which a dyno with these attributes must become healthy."""
    return _seconds(attributes, "ready", "Service.TimeoutStartSec", READY_TIMEOUT)


def _stop_timeout(attributes: Attributes | None) -> int:
    """Seconds that a dyno with these attributes may take to stop."""
    return _seconds(attributes, "unit", "Service.TimeoutStopSec", STOP_TIMEOUT)


def _seconds(attributes: Attributes | None, name: str, key: str, default: int) -> int:
    settings = (attributes or {}).get(name)
    text = str(settings.get(key, "")) if isinstance(settings, Mapping) else ""
    return answer.digits(text) or default


def _text(settings: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value) for key, value in settings.items()}


def is_ours(settings: Mapping[str, str], app: str, dyno: str) -> bool:
    """Whether a unit carries the dyno's mark. One that is empty or masked carries none, and nobody else's either."""
    return not settings or (settings.get(f"Unit.{naming.APP}"), settings.get(f"Unit.{naming.DYNO}")) == (app, dyno)


def _needs_no_restart(change: Change) -> bool:
    """Whether everything that differs can be changed on a running dyno."""
    return set(change.differing()) <= {"enabled", "cpu", "ready"}


def _state(service: Mapping[str, str], ready: Mapping[str, str], *, stale: bool, idles: bool) -> str:
    """The state of the dyno. It is the same throughout a crash loop, and whether the dyno is idle or in use, or plans
    would differ from moment to moment."""
    active = service.get("ActiveState", "inactive")
    answering = active == "active" and ready.get("ActiveState") == "active"
    if active == "deactivating" and service.get("Result", "success") != "success":
        return "crashing"  # what it started is ended before it restarts
    if active in ("inactive", "failed", "deactivating"):
        if service.get("LoadState") == "masked":
            return "masked"
        if active == "failed" or not idles:
            return "failed" if active == "failed" else "stopped"
        return "outdated" if stale else "running"
    if not answering and (service.get("SubState") == "auto-restart" or service.get("NRestarts", "0") != "0"):
        return "crashing"
    if stale:
        return "outdated"
    booting = active == "activating" or ready.get("ActiveState") == "activating"
    return "running" if answering or booting else "not answering"


def _quota(text: str) -> str:
    """systemd's CPU time per second as a percentage of one core, such as ``25%`` for ``250ms``."""
    if text == "infinity":
        return "none"
    units = {"min": 60000.0, "s": 1000.0, "ms": 1.0, "us": 0.001}
    parts = re.findall(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)(min|ms|us|s)", text[:100])  # a server may say anything
    total = sum(float(number) * units[unit] for number, unit in parts)
    return f"{total / 10:g}%"


# An open socket stays open, and connections wait in it. A service without one is stopped first.
_OPEN = f"""\
{listeners.LISTENS}listens "$1" && exit
systemctl is-active -q "$1.service" && systemctl stop "$1.service" "$1-ready.service"
systemctl restart "$1.socket"
"""

# A dyno may shut its socket down as it ends. The companion starts with the service; its status is the dyno's health.
_RESTART = f"""\
{listeners.LISTENS}systemctl restart "$1.service" || exit
listens "$1" || {{
  systemctl stop "$1.service" "$1-ready.service"
  systemctl restart "$1.socket" && systemctl restart "$1.service" || exit
}}
exec systemctl start "$1-ready.service"
"""

# Active, healthy, and not restarted since apply started it: systemd resets NRestarts to 0 then.
_ALIVE = f"""\
{idle.SETTLED}\
for unit in "$1.service" "$1-ready.service"; do
  systemctl is-active -q "$unit" || {{ echo 'it is not running'; exit 1; }}
done
[ "$(systemctl show -p NRestarts --value "$1.service")" = 0 ] || {{ echo 'it exited and was restarted'; exit 1; }}
"""

# The dyno may have had no unit before.
_AS_BEFORE = """\
[ -e "/etc/systemd/system/$1.service" ] || exit 0
set -- "$1.service" "$1-ready.service"
systemctl reset-failed "$@" 2>/dev/null
exec systemctl restart "$@"
"""

_END = """\
systemctl stop "$1.service" "$1-ready.service" 2>/dev/null
! systemctl is-active -q "$1.service" || { echo "$1.service still runs"; exit 1; }
"""


def texts(changes: Sequence[Change]) -> dict[str, tuple[str, str]]:
    """The unit file of one dyno per process type before and after the changes; "" if there is none.

    A dyno that existed before is preferred."""
    found: dict[str, tuple[str, str]] = {}
    for change in changes:
        if change.resource.kind != Unit.kind or change.resource.dyno is None or not change.action.writes:
            continue
        before, after = (_file(attributes or {}) for attributes in (change.before, change.after))
        type_ = naming.parse_dyno(change.resource.dyno)[0]
        if after and not found.get(type_, ("", ""))[0]:
            found[type_] = (before, after)
    return found


def _file(attributes: Attributes) -> str:
    settings = attributes.get("unit")
    if not isinstance(settings, Mapping):
        return ""
    return ini.render({name: value for name, value in settings.items() if isinstance(value, str)})
