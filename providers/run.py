"""A one-off dyno: one command in the sandbox of an existing dyno, under a dynamic user."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

from infra.model import answer, naming, paths
from infra.model.command_line import argv
from infra.model.provider import Fragment
from infra.model.run_request import Base, RunRequest
from infra.model.sandbox import SINCE
from providers import dyno_unit, env_file, ini, one_off, shown

CPU = "100%"
"""A one-off dyno may use a whole core, so that a console starts quickly."""

STOP_SECONDS = "10"
"""Seconds that it has to finish once its connection is lost or its time is over."""

_SLUG = re.compile(r"^/srv/dyno/[^/]+/([0-9a-f]{64}):/app$", re.MULTILINE)

_VERSION = re.compile(r"^systemd ([0-9]{3})\b", re.MULTILINE)

_LEFT_OUT = frozenset(
    {"Type", "User", "Group", "Restart", "RestartSec", "SyslogIdentifier", "CPUQuota", "Environment"}
    | {"EnvironmentFile", "KillMode", "KillSignal", "TimeoutStopSec", "Slice"}
)
"""Settings that belong to the dyno itself; the others belong to the release and the sandbox, and are kept."""

_COMMAND = "DYNOCTL_COMMAND"
"""The variable with the command's words. The arguments of a unit are shown to every user of the server; variables of an
env file are not."""

_LINGER = "0.2"
"""Seconds. On 2 cores with a load of 18, the slowest of 240,000 terminals took 0.055 s to show what was written."""

# systemd mounts its /tmp with it, and unmounts it. A one-off dyno that runs on is cleaned up after by an apply. A mount
# that was stopped before it was there has failed, and while systemd remembers that, it remembers the service, too.
_MOUNT = """\
unit=$1 left=$3
umask 022
printf %s "$2" > "$unit" && shift 3 || exit
[ -n "$left" ] || exec "$@"
trap : HUP INT QUIT TERM
"$@"; status=$?
systemctl stop "${unit##*/}" 2>/dev/null
systemctl reset-failed "${unit##*/}" 2>/dev/null
rm -f "$unit"; rmdir "$left" "${left%/*}" "${left%/*/*}" 2>/dev/null
exit $status
"""

# The first process returns the command's exit status, or 128 plus its signal. Signals reach the command only. Each word
# is followed by an x, as a shell would remove its newlines at the end.
#
# In a terminal, systemd-run ends with the unit once the terminal has no more bytes to read. Linux shows them to a
# reader only some time after they are written (flush_to_ldisc), so that the output of a command that ends at once would
# be lost. Therefore the unit outlives its output by ``_LINGER``.
_WAIT = (
    f'set --; for word in ${_COMMAND}; do word=$(printf %s "$word" | base64 -d); set -- "$@" "${{word%x}}"; done; '
    f'unset word {_COMMAND}; trap : HUP INT QUIT TERM; "$@"; '
    f"set -- $?; [ ! -t 1 ] || sleep {_LINGER} 2>/dev/null; exit $1"
)


class Runs:
    """Starts one-off dynos of an app."""

    def observe(self, app: str) -> Fragment:
        """The fragment that ``bases`` parses: the units of the app's dynos and their state."""
        return Fragment(_SCRIPT, {"app": app})

    def bases(self, app: str, output: str) -> Sequence[Base]:
        """The dynos of the app on a server that a one-off dyno can be based on."""
        texts: dict[str, list[str]] = {}
        properties: list[str] = []
        for line in output.splitlines():
            unit, colon, text = line.partition(".service:")
            if colon and naming.UNIT_NAME.match(unit):
                texts.setdefault(f"{unit}.service", []).append(text)
            else:
                properties.append(line)
        states, version = shown.parse("\n".join(properties)), _VERSION.search(output)
        found = []
        for unit, lines in texts.items():
            settings = ini.parse("\n".join(lines))
            dyno = settings.get(f"Unit.{naming.DYNO}", "")
            slug = _SLUG.search(settings.get("Service.BindReadOnlyPaths", ""))
            if settings.get(f"Unit.{naming.APP}") != app or not naming.DYNO_NAME.match(dyno) or slug is None:
                continue
            up = states.get(unit, {}).get("ActiveState") == "active"
            found.append(Base(dyno, slug[1], up, {"unit": "\n".join(lines), "systemd": version[1] if version else "0"}))
        return found

    def name(self, app: str, nonce: str) -> str:
        return one_off.name(one_off.RUN, app, nonce)

    def environment(self, request: RunRequest) -> str:
        line = request.arguments[0] if len(request.arguments) == 1 else tuple(request.arguments)
        words = (base64.b64encode(f"{word}x".encode()).decode() for word in argv(line))
        return env_file.render({**request.variables, _COMMAND: " ".join(words)})

    def argv(self, app: str, base: Base, request: RunRequest) -> Sequence[str]:
        """The ``systemd-run`` command that starts it, with all settings of its unit. It has no secrets, and the command
        is not in it but in ``environment``."""
        name = self.name(app, request.nonce)
        settings = ini.parse(base.source["unit"])
        service = {key.partition(".")[2]: value for key, value in settings.items() if key.startswith("Service.")}
        mode = {"terminal": ["--pty", "--wait"], "pipe": ["--pipe", "--wait"], "detached": []}[request.mode]
        options = [
            *("--quiet", "--collect", *mode, "--service-type=exec", f"--unit={name}"),
            f"--slice=dyno-{naming.escape(app)}.slice",
            f"--description={name.removeprefix('dynoctl-')} (one-off)",
        ]
        variables = _variables(service.get("Environment", "")) | {"DYNO": f"{one_off.RUN}.{request.nonce}"}
        variables.pop("PORT", None)
        options += [f"--setenv={key}={value}" for key, value in sorted(variables.items())]
        values = {key: value for key, value in service.items() if key not in _LEFT_OUT and key[:9] != "ExecStart"}
        values |= {
            "DynamicUser": "yes",
            # Later files override earlier ones. The first belongs to the dyno; its values never leave the server.
            "EnvironmentFile": f"{paths.env_file(app, base.dyno)}\n{one_off.env_file_path(name)}",
            "CPUQuota": CPU,
            "KillMode": "control-group",
            "TimeoutStopSec": STOP_SECONDS,
            "SyslogIdentifier": name,
            "RuntimeMaxSec": str(request.seconds) if request.seconds else "infinity",
            # Otherwise, on cgroup v2, systemd ends the unit as soon as the kernel has killed one of its processes, and
            # nothing is left to return the status of the command, which is 137 as on cgroup v1.
            "OOMPolicy": "continue",
        }
        if unset := values.get("UnsetEnvironment", ""):
            values["UnsetEnvironment"] = " ".join(word for word in unset.split() if word not in request.variables)
        # The file systems of its volumes and of its /tmp, which is not that of the dyno.
        size, before = answer.digits(settings.get(f"Unit.{naming.TMP}", "")), paths.temporary(app, base.dyno)
        own = paths.temporary(app, one_off.short(name))
        mounts = [path for path in settings.get("Unit.RequiresMountsFor", "").split() if path != before]
        size = size if f"{before}:" in values.get("BindPaths", "") else None
        if size:
            mounts.insert(0, own)
            values["BindPaths"] = values["BindPaths"].replace(f"{before}:", f"{own}:")
        if mounts:
            values["RequiresMountsFor"] = " ".join(mounts)
        for key, value in values.items():
            if int(base.source.get("systemd", "0")) < SINCE.get(key, 0):
                continue  # systemd-run refuses what it does not know
            for part in value.split("\n"):
                options += ["-p", f"{key}={part.replace('%%', '%')}"]
        # systemd expands ``$NAME`` in the arguments of a unit; ``$$`` is a literal dollar sign.
        # Units of earlier versions have no launcher.
        launcher = dyno_unit.BOUND["launcher"]
        first = ("/bin/sh", launcher) if f":{launcher}" in service.get("BindReadOnlyPaths", "") else ()
        words = [word.replace("$", "$$") for word in (*first, "/bin/sh", "-c", _WAIT, one_off.RUN)]
        started = ["systemd-run", *options, "--", *words]
        if not size:  # the dyno is of a version that gave it no /tmp of its own
            return started
        left = "" if request.mode == "detached" else own
        return ["sh", "-c", _MOUNT, "mount", *one_off.temporary(app, name, size), left, *started]


def _variables(lines: str) -> dict[str, str]:
    found = {}
    for line in lines.split("\n"):
        name, equals, value = ini.unquote(line).partition("=")
        if equals:
            found[name] = value
    return found


_SCRIPT = """\
set --
for file in $(grep -lsx "X-Dynoctl-App=$app" /etc/systemd/system/dyno-*.service); do
  case $file in *-ready.service|*@*) ;; *) set -- "$@" "${file##*/}" ;; esac
done
[ $# -gt 0 ] || exit 0
systemctl --version
systemctl show -p Id,ActiveState -- "$@"
cd /etc/systemd/system && grep -Hs '' -- "$@"
:
"""
