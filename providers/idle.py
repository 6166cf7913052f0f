"""Stops a web dyno that nobody uses. Its socket stays, so the next request starts it and waits in the socket."""

from __future__ import annotations

from collections.abc import Mapping

from infra.model import naming, paths
from infra.model.dyno_status import LEFT_IDLE
from infra.model.resource import Change, Effect
from providers import ini

MARK = ".dynoctl-used"
"""The file in a dyno's /tmp whose time each request sets; the generated rackup does so."""

DEFER = 30
"""Seconds that a connection without data is kept from a dyno: a router's health check sends none, and so wakes none."""

SYSTEMD_RUN = "/usr/bin/systemd-run"

IS_IDLE = f"""\
is_idle() {{
  grep -qs '^{naming.IDLE}=' "{paths.UNITS}/$1.service" && systemctl is-active -q "$1.socket" &&
    [ "$(systemctl show -p ActiveState --value "$1.service")" = inactive ]
}}
"""
"""A shell function that succeeds if the unit, given without ``.service``, is that of an idle dyno."""

SETTLED = f"""\
{IS_IDLE}\
! is_idle "$1" || exit 0
! grep -qs '^{naming.IDLE}=' "{paths.UNITS}/$1.service" || systemctl start "$1-ready.service" 2>/dev/null
"""
"""The start of a script that looks at a dyno: it ends if that is idle, and waits if it just wakes or falls asleep."""


def may_be(settings: object) -> bool:
    """Whether a dyno with these settings stops if nobody uses it."""
    return isinstance(settings, Mapping) and f"Unit.{naming.IDLE}" in settings


def unless(change: Change, script: str) -> str:
    """A script that restarts a dyno, and does nothing if that is idle: it boots with its next request, from the files
    that are there then. That is decided on the server, as a request may come at any time. A dyno that is to start,
    could not be idle before, or was stopped as its socket moves, starts."""
    before, after = ((attributes or {}).get("unit") for attributes in (change.before, change.after))
    could = may_be(before) and may_be(after) and _address(before) == _address(after)
    idles = could and change.effect is not Effect.START
    if not idles:
        return script
    # A restart would restart the watch with it, as it was; the companion starts one that is as the files have it.
    return f'{IS_IDLE}! is_idle "$1" || {{ echo "{LEFT_IDLE}"; exit 0; }}\n{_UNWATCH}{script}'


def as_before(change: Change, script: str) -> str:
    """A script that starts a dyno again as it was before a change, which the rest of ``script`` does: not if it is
    idle, unless the change has stopped it, as its socket moved."""
    before, after = ((attributes or {}).get("unit") for attributes in (change.before, change.after))
    stays = _address(before) == _address(after)
    return f'{IS_IDLE}! is_idle "$1" || exit 0\n{script}' if may_be(before) and stays else script


def _address(settings: object) -> list[object]:
    keys = (naming.LISTEN, naming.PORT)
    return [settings.get(f"Unit.{key}") for key in keys] if isinstance(settings, Mapping) else []


# It counts its own steps, so a clock that is set does not matter. Whoever is connected uses the dyno, however long: a
# slow request, a WebSocket, a stream. A stop that conflicts with a job of systemd, such as a restart by an apply, is
# not done. What comes in while the dyno stops waits in its socket, and starts it again. That boot has its CPU quota
# from the first instruction on.
_WATCH = " ".join(
    line.strip()
    for line in """\
unit=$1 idle=$2 step=$3 mark=$4 connected="^ *[0-9]+: [0-9A-F]+:$5 [0-9A-F]+:[0-9A-F]+ 0[18] ";
left=$idle; seen=$(stat -c %y "$mark" 2>/dev/null);
while sleep "$step"; do
  used=$(stat -c %y "$mark" 2>/dev/null);
  if [ "$used" != "$seen" ] || grep -qsE "$connected" /proc/net/tcp /proc/net/tcp6; then
    seen=$used left=$idle;
  elif left=$((left - step)) && [ "$left" -le 0 ]; then
    systemctl set-property --runtime "$unit" "CPUQuota=$6" && systemctl --no-block --job-mode=fail stop "$unit";
  fi;
done
""".splitlines()
)


def watcher(unit: str) -> str:
    """The unit of the watch over a dyno. It has a name, so that there is one, however often the dyno is found healthy.
    It is none of a dyno's own units, whose names begin with ``dyno-``."""
    return f"watch-{unit}.service"


_UNWATCH = f'systemctl stop "{watcher("$1")}" 2>/dev/null\n'

CHECK = f"""\
{_UNWATCH}\
exec systemctl restart "$1-ready.service"
"""
"""A script that checks the health of a dyno again. Its companion starts the watch anew, with what changed of it."""


def watch(app: str, dyno: str, port: int, seconds: int, boot: str) -> str:
    """The value of ``ExecStartPost=`` that starts the watch over a dyno that is healthy. It ends with the dyno.
    ``boot`` is the CPU quota of its next boot."""
    unit = f"{naming.user_name(app, dyno)}.service"
    step = min(60, max(1, seconds // 10))
    words = (unit, str(seconds), str(step), f"{paths.temporary(app, dyno)}/{MARK}", f"{port:04X}", boot)
    argv = [SYSTEMD_RUN, "--quiet", "--collect", "--no-block", f"--unit={watcher(naming.user_name(app, dyno))}"]
    argv += [f"--description=watch over dyno {dyno} of {app}"]
    argv += [f"--property={name}={unit}" for name in ("BindsTo", "After")]
    # systemd expands the variables of this unit, and then those of the one that is run.
    argv += ["/bin/sh", "-c", _WATCH.replace("$", "$$"), "watch", *words]
    return "-+" + " ".join(ini.quote(word) for word in argv)
