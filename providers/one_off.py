"""Transient units for one-off work: in a dyno's sandbox, under a dynamic user, removed when they end."""

from __future__ import annotations

from collections.abc import Mapping

from infra.model import naming, paths
from infra.model.provider import Scope
from infra.model.resource import Command
from infra.model.sandbox import HELPER
from providers import credentials, env_file, failure, files, ini, tmp
from providers.dyno_unit import BOOT_QUOTA, DynoUnit, exec_line, file_systems, in_service, inside, launched

RUNTIME = "/run/systemd/system"

KINDS = ("candidate", "release")
"""The kinds that an apply starts and cleans up."""

RUN = "run"
"""The kind that ``dynoctl run`` starts. It is removed with its connection, and an apply does not touch it."""


def name(kind: str, app: str, nonce: str) -> str:
    """The name of a one-off unit. App names contain no dot, so it cannot be mistaken for a unit of another app."""
    return f"dynoctl-{kind}-{app}.{nonce}"


def short(name: str) -> str:
    """The name of the one-off dyno of a unit, such as ``run.1f3a``."""
    kind, _, rest = name.removeprefix("dynoctl-").partition("-")
    return f"{kind}.{rest.rpartition('.')[2]}"


def temporary(app: str, name: str, size: int) -> tuple[str, str]:
    """The path and the text of the mount unit of its /tmp, of ``size`` bytes."""
    path = f"{RUNTIME}/{paths.temporary_unit(app, short(name))}"
    return path, ini.render(tmp.settings(app, short(name), f"{name}.service", size))


def settings(dyno: DynoUnit, name: str, variables: Mapping[str, str], timeout: int) -> dict[str, str]:
    """The settings of the unit ``name``. It never restarts, and systemd ends it after ``timeout`` seconds."""
    return {
        "Unit.Description": f"{name.removeprefix('dynoctl-')} (one-off)",
        **file_systems(dyno, short(name)),
        "Service.DynamicUser": "yes",
        **inside(dyno, short(name), variables, env_file_path(name)),
        **credentials.load(credentials_directory(name), dyno.credentials),
        "Service.ExecStart": exec_line(launched(dyno, dyno.argv)),
        "Service.TimeoutStartSec": str(timeout),
        "Service.RuntimeMaxSec": str(timeout),
        "Service.TimeoutStopSec": "5",
        "Service.SyslogIdentifier": name,
        "Service.CPUQuota": f"{max(BOOT_QUOTA, dyno.cpu // 10)}%",
    }


def commands(
    name: str,
    unit: Mapping[str, str],
    scope: Scope,
    timeout: int,
    label: str,
    mark: str = "",
) -> tuple[Command, ...]:
    """Start the unit, wait until systemd reports it as started (a oneshot: finished), and remove everything again.

    The last command's status is the result, and it prints the unit's log. ``mark`` is the path of a file that systemd
    creates once a oneshot has succeeded, even if the connection has been lost by then."""
    secret = env_file_path(name)
    mount, text = temporary(scope.app, name, int(unit[f"Unit.{naming.TMP}"]))
    write = [
        files.write(
            secret, env_file.render(scope.environments["web"]), "0600", secret=True, label="write the env file"
        ),
        *credentials.write(credentials_directory(name), scope.credentials),
        files.write(mount, text, "0644", label="write the unit of its /tmp"),
        files.write(_file(name), ini.render(unit), "0644", label="write the unit"),
    ]
    last = name
    if mark:
        last = f"{name}.ended"
        write.append(files.write(_file(last), ini.render(ended(name, mark)), "0644", label="write the unit"))
    words = (name, last, secret, credentials_directory(name), naming.log_namespace(scope.app), mount)
    argv = ("sh", "-c", _RUN, "one-off", *words, paths.temporary(scope.app, short(name)))
    return (*write, Command(argv, timeout=timeout + 30, label=label))


def _file(name: str) -> str:
    return f"{RUNTIME}/{name}.service"


def ended(name: str, mark: str) -> dict[str, str]:
    """A unit that systemd starts after another has succeeded. It runs as root, without the app's variables."""
    unit = f"{name}.service"
    return {
        "Unit.Description": f"{name.removeprefix('dynoctl-')} ended well",
        "Unit.Requires": unit,
        "Unit.After": unit,
        "Service.Type": "oneshot",
        "Service.ExecStart": exec_line(("/bin/touch", mark)),
        **in_service(HELPER),
        "Service.ReadWritePaths": ini.quote(mark.rpartition("/")[0]),
    }


def sweep(app: str, *, stop: bool = False) -> Command:
    """Remove what one-off units of interrupted applies left behind, and stop their candidates. A release command that
    is still running is stopped only with ``stop``, and otherwise named in the output."""
    prefixes = [name(kind, app, "") for kind in KINDS]
    slice_ = f"dyno-{naming.escape(app)}.slice"
    own = ("stop" if stop else "", f"dyno-{app}-", slice_, name(RUN, app, ""), name("candidate", app, ""))
    tmp_units = paths.temporary_unit(app, "").removesuffix(".mount")
    words = ("sweep", *own, app, tmp_units, *prefixes)
    return Command(("sh", "-c", _SWEEP, *words), quiet=True, label="sweep")


def idle(app: str) -> Command:
    """Fail if a one-off dyno or a release command of the app is running, and name it."""
    words = ("idle", name(RUN, app, ""), name("release", app, ""))
    return Command(("sh", "-c", _IDLE, *words), quiet=True, label="check for one-off dynos")


def credentials_directory(name: str) -> str:
    """The directory of the unit's credentials, readable by root only."""
    return f"/run/{name}.credentials"


def env_file_path(name: str) -> str:
    """The unit's env file, readable by root only."""
    return f"/run/{name}.env"


# Files of a run that is just starting must stay. They are seconds old, so only old files count as leftovers.
_SWEEP = """\
stop=$1 units=$2 slice=$3 run=$4 candidate=$5 app=$6 mounts=$7; shift 7
[ -n "$stop" ] && systemctl stop "$run*.service" 2>/dev/null
find /run -maxdepth 1 -name "$run*" -mmin +10 | while read -r left; do
  systemctl -q is-active "$(basename "${left%.*}").service" || rm -f "$left"
done
for prefix; do
  for left in /run/systemd/system/"$prefix"*.service /run/"$prefix"*.env /run/"$prefix"*.credentials; do
    [ -e "$left" ] || continue
    name=${left##*/}; name=${name%.*}
    [ -n "$stop" ] || [ "$prefix" = "$candidate" ] && systemctl stop "$name.service" 2>/dev/null
    # The unit that notes the end of a release command waits for it, and is inactive meanwhile.
    for unit in "${name%.ended}" "$name"; do
      case $(systemctl show -p ActiveState --value "$unit.service") in
        activ*|deactivating) echo "$unit still runs"; continue 2 ;;
      esac
    done
    rm -rf "/run/systemd/system/$name.service" "/run/$name.env" "/run/$name.credentials"
    systemctl reset-failed "$name.service" 2>/dev/null
  done
done
old='-mmin +10'; [ -z "$stop" ] || old=
# systemd unmounts the /tmp of a one-off dyno that has ended. Its unit is needed until then, and not after.
find /run/systemd/system -maxdepth 1 -name '*.mount' $old | while read -r unit; do
  own=${unit##*/}
  case $own in "$mounts"run.*|"$mounts"candidate.*|"$mounts"release.*) ;; *) continue ;; esac
  [ -z "$stop" ] || systemctl stop "$own" 2>/dev/null
  systemctl -q is-active "$own" && continue
  systemctl reset-failed "$own" 2>/dev/null
  own=${own#"$mounts"}
  rm -f "$unit"; rmdir "/run/dyno/$app/${own%.mount}" "/run/dyno/$app" /run/dyno 2>/dev/null
done
# The slice of the last dyno stays while a one-off dyno is in it.
left() { for unit; do [ -e "$unit" ] && return 0; done; return 1; }
if [ -n "$stop" ]; then
  left /etc/systemd/system/"$units"*.service || systemctl stop "$slice" 2>/dev/null
  left /etc/systemd/system/dyno-*.service /run/systemd/*/dynoctl-*.service || systemctl stop dyno.slice 2>/dev/null
fi
:
"""

_IDLE = """\
busy=
for prefix; do
  for file in /run/systemd/transient/"$prefix"*.service /run/systemd/system/"$prefix"*.service; do
    [ -e "$file" ] || continue
    unit=${file##*/}
    case $(systemctl show -p ActiveState --value "$unit") in
      activ*|deactivating|reloading) echo "${unit%.service} is still running"; busy=yes ;;
    esac
  done
done
[ -z "$busy" ]
"""

# Only log lines since the start are printed, not those of an earlier unit. The name of the unit is new in each run, and
# journalctl 252 takes -n together with --since for the oldest lines.
_RUN = f"""\
{failure.FACTS}clean() {{
  # Its requests are not needed any more, and an app server may be slow to stop.
  systemctl kill -s KILL "$unit" 2>/dev/null; systemctl stop "$unit" 2>/dev/null
  rm -rf "/run/systemd/system/$unit" "/run/systemd/system/$last" "$variables" "$given"
  systemctl stop "${{mount##*/}}" 2>/dev/null; rm -f "$mount"; rmdir "$tmp" "${{tmp%/*}}" "${{tmp%/*/*}}" 2>/dev/null
  systemctl reset-failed "$unit" "$last" "${{mount##*/}}" 2>/dev/null
}}
unit=$1.service last=$2.service variables=$3 given=$4 namespace=$5 mount=$6 tmp=$7 identifier=$1
trap clean EXIT
systemctl daemon-reload
since=$(date +%s)
systemctl start "$last" 2>/dev/null; status=$?
journalctl --namespace="$namespace" --sync 2>/dev/null
[ $status -eq 0 ] || {{ facts "$unit"; [ "$last" = "$unit" ] || said_of "$last" | sed 's/^/Said=/'; echo; }}
journalctl -q --no-pager --namespace="$namespace" -o cat --since="@$since" -u "$unit" -t "$identifier" |
  tail -n "$lines"
[ $status -eq 0 ]
"""
