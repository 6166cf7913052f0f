"""A unit that lives for one answer: in a dyno's sandbox, under a user that is made for it; it leaves nothing."""

from __future__ import annotations

from collections.abc import Mapping

from infra.model.provider import Scope
from infra.model.resource import Command
from providers import credentials, env_file, files, ini
from providers.dyno_unit import BOOT_QUOTA, DynoUnit, inside, words

RUNTIME = "/run/systemd/system"

KINDS = ("candidate", "release")

RUN = "run"
"""One that a person asked for. It is tied to a connection, which takes it away, and no apply touches it."""


def name(kind: str, app: str, nonce: str) -> str:
    """What a one-off unit is called. No app's name holds a dot, so that none is taken for another app's."""
    return f"dynoctl-{kind}-{app}.{nonce}"


def settings(dyno: DynoUnit, name: str, variables: Mapping[str, str], timeout: int) -> dict[str, str]:
    """Its unit, called ``name``. It never restarts, and it ends by itself should everybody forget it."""
    return {
        "Unit.Description": f"{name.removeprefix('dynoctl-')} (one-off)",
        "Service.DynamicUser": "yes",
        **inside(dyno, variables, environment(name)),
        **credentials.load(given(name), dyno.credentials),
        "Service.ExecStart": words(dyno.argv),
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
    says: str,
    mark: str = "",
) -> tuple[Command, ...]:
    """Start it, wait until systemd says that it is up (a oneshot: done), and take everything away again.

    The last command's status is its answer, and what it prints are the unit's own words. ``mark`` is a file that
    systemd makes once a oneshot has ended well, also where nobody waits for it any more."""
    secret = environment(name)
    write = [
        files.write(secret, env_file.render(scope.environments["web"]), "0600", secret=True, says="write its env file"),
        *credentials.write(given(name), scope.credentials),
        files.write(_file(name), ini.render(unit), "0644", says="write its unit"),
    ]
    last = name
    if mark:
        last = f"{name}.ended"
        write.append(files.write(_file(last), ini.render(_ended(name, mark)), "0644", says="write its unit"))
    argv = ("sh", "-c", _RUN, "one-off", name, last, secret, given(name))
    return (*write, Command(argv, timeout=timeout + 30, says=says))


def _file(name: str) -> str:
    return f"{RUNTIME}/{name}.service"


def _ended(name: str, mark: str) -> dict[str, str]:
    """A unit that systemd starts when another has ended well. It is root's, without the app's variables."""
    unit = f"{name}.service"
    return {
        "Unit.Description": f"{name.removeprefix('dynoctl-')} ended well",
        "Unit.Requires": unit,
        "Unit.After": unit,
        "Service.Type": "oneshot",
        "Service.ExecStart": words(("/bin/touch", mark)),
    }


def sweep(app: str, *, stop: bool = False) -> Command:
    """Take away what the one-off units of applies that were cut off left; one that still runs only with ``stop``."""
    prefixes = [name(kind, app, "") for kind in KINDS]
    words = ("sweep", "stop" if stop else "", name(RUN, app, ""), *prefixes)
    return Command(("sh", "-c", _SWEEP, *words), quiet=True, says="sweep")


def given(name: str) -> str:
    """Where its credentials are, for root alone and as long as it lives."""
    return f"/run/{name}.credentials"


def environment(name: str) -> str:
    """Where its variables are, for root alone and as long as it lives."""
    return f"/run/{name}.env"


# The files of a run that is about to start are seconds old, so what is left of one is known by its age.
_SWEEP = """\
stop=$1 run=$2; shift 2
[ -n "$stop" ] && systemctl stop "$run*.service" 2>/dev/null
find /run -maxdepth 1 -name "$run*" -mmin +10 | while read -r left; do
  systemctl -q is-active "$(basename "${left%.*}").service" || rm -f "$left"
done
for prefix; do
  for left in /run/systemd/system/"$prefix"*.service /run/"$prefix"*.env /run/"$prefix"*.credentials; do
    [ -e "$left" ] || continue
    name=${left##*/}; name=${name%.*}
    [ -n "$stop" ] && systemctl stop "$name.service" 2>/dev/null
    case $(systemctl show -p ActiveState --value "$name.service") in activ*|deactivating) continue ;; esac
    rm -rf "/run/systemd/system/$name.service" "/run/$name.env" "/run/$name.credentials"
    systemctl reset-failed "$name.service" 2>/dev/null
  done
done
:
"""

# Its words come from the journal since it started, and not from an earlier one's.
_RUN = """\
clean() {
  # Nobody waits for an answer of it, and an app server may take its time to end.
  systemctl kill -s KILL "$unit" 2>/dev/null; systemctl stop "$unit" 2>/dev/null
  rm -rf "/run/systemd/system/$unit" "/run/systemd/system/$last" "$variables" "$given"
  systemctl reset-failed "$unit" "$last" 2>/dev/null
}
unit=$1.service last=$2.service variables=$3 given=$4 identifier=$1
trap clean EXIT
systemctl daemon-reload
since=$(date +%s)
systemctl start "$last" 2>/dev/null; status=$?
journalctl --sync 2>/dev/null
journalctl -q --no-pager -o cat -n 40 --since="@$since" -u "$unit" -t "$identifier"
[ $status -eq 0 ]
"""
