"""A release's rehearsal: a web dyno that nobody knows of, in the same sandbox, asked once over a socket of its own."""

from __future__ import annotations

from collections.abc import Mapping

from infra.resource import Command
from infra.sensitive import Sensitive
from providers import env_file, files, ini
from providers.dyno_unit import BOOT_QUOTA, DynoUnit, inside, words

TIMEOUT = 60
"""Seconds that it has to answer."""

DYNO = "web.0"
"""The number that no real dyno has."""

RUNTIME = "/run/systemd/system"

# Runs as the candidate's user in its sandbox. Any answer will do but one that says that the app is broken.
_ASK = (
    'loop { Process.kill(0, ENV["MAINPID"].to_i) rescue abort("it ended before it answered"); '
    "begin; Socket.unix(ARGV[0]) { |s| "
    's.write "GET / HTTP/1.0\\r\\nHost: localhost\\r\\nUser-Agent: dynoctl\\r\\n\\r\\n"; '
    "s.wait_readable(30) or next; status = s.gets(64).to_s[%r{\\AHTTP/\\S+ (\\d+)}, 1] or next; "
    'exit if status < "500"; abort "GET / answered #{status}" }; '
    "rescue SystemCallError; end; sleep 0.02 }"
)


def directory(app: str) -> str:
    """The name of its directory below /run: its user's alone, and gone with it."""
    return f"dynoctl-candidate-{app}"


def socket(app: str) -> str:
    """Where it listens."""
    return f"/run/{directory(app)}/socket"


def settings(dyno: DynoUnit) -> dict[str, str]:
    """Its unit. ``dyno`` is any web dyno of the release, with the argv that listens on ``socket``.

    Its user is made for it and goes with it; it never restarts, and it ends by itself should everybody forget it."""
    ask = [dyno.ruby, "--disable=gems", "-rsocket", "-rio/wait", "-e", _ASK, socket(dyno.app)]
    return {
        "Unit.Description": f"candidate of {dyno.app}",
        "Service.Type": "exec",
        "Service.DynamicUser": "yes",
        "Service.RuntimeDirectory": directory(dyno.app),
        "Service.RuntimeDirectoryMode": "0700",
        **inside(dyno, {"PORT": str(dyno.port), "DYNO": DYNO}, _environment(dyno.app)),
        "Service.ExecStart": words(dyno.argv),
        "Service.ExecStartPost": words(ask),
        "Service.TimeoutStartSec": str(TIMEOUT),
        "Service.RuntimeMaxSec": str(TIMEOUT),
        "Service.TimeoutStopSec": "5",
        "Service.SyslogIdentifier": f"{dyno.app}-candidate",
        "Service.CPUQuota": f"{max(BOOT_QUOTA, dyno.cpu // 10)}%",
    }


def commands(dyno: DynoUnit, variables: Mapping[str, str | Sensitive]) -> tuple[Command, ...]:
    """Boot it, ask it, and take everything away again; the last command's status is its answer."""
    unit = f"{directory(dyno.app)}.service"
    file = f"{RUNTIME}/{unit}"
    run = ("sh", "-c", _RUN, "candidate", unit, file, _environment(dyno.app), f"{dyno.app}-candidate")
    return (
        files.write(_environment(dyno.app), env_file.render(variables), "0600", secret=True, says="write its env file"),
        files.write(file, ini.render(settings(dyno)), "0644", says="write its unit"),
        Command(run, timeout=TIMEOUT + 30, says="boot a candidate"),
    )


def _environment(app: str) -> str:
    return f"/run/{directory(app)}.env"


# Its own words come from the journal since it started, and not from an earlier candidate's.
_RUN = """\
clean() { systemctl stop "$unit" 2>/dev/null; rm -f "$file" "$variables"; systemctl reset-failed "$unit" 2>/dev/null; }
unit=$1 file=$2 variables=$3 identifier=$4
trap clean EXIT
systemctl stop "$unit" 2>/dev/null
systemctl daemon-reload
since=$(date +%s)
systemctl start "$unit" 2>/dev/null && exit 0
journalctl --sync 2>/dev/null
journalctl -q --no-pager -o cat -n 40 --since="@$since" -u "$unit" -t "$identifier"
exit 1
"""
