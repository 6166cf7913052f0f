"""A one-off dyno: one command in the sandbox of a dyno that is there, under a user that is made for it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from infra.model import naming
from infra.model.command_line import argv
from infra.model.provider import Fragment
from infra.model.run_request import Base, RunRequest
from providers import env_file, ini, one_off, paths, shown

CPU = "100%"
"""It may take a core: a console that boots at a dyno's share keeps a person waiting."""

STOP_SECONDS = "10"
"""Seconds that it has to end what it is at, once nobody listens any more or its time is over."""

_SLUG = re.compile(r"^/srv/dyno/[^/]+/([0-9a-f]{64}):/app$", re.MULTILINE)

_LEFT_OUT = frozenset(
    {"Type", "User", "Group", "ExecStart", "Restart", "RestartSec", "SyslogIdentifier", "CPUQuota", "Environment"}
    | {"EnvironmentFile", "KillMode", "KillSignal", "TimeoutStopSec", "Slice"}
)
"""What of a dyno's service is the dyno's own; all else is the release's, and the sandbox."""

# Its first process tells how the command ended, also by which signal; all else that arrives goes to the command alone.
_WAIT = 'trap : HUP INT QUIT TERM; "$@"; exit $?'


class Runs:
    """One-off dynos of an app."""

    def observe(self, app: str) -> Fragment:
        """What ``bases`` reads: the units of the app's dynos, and how each of them is."""
        return Fragment(_SCRIPT, {"app": app})

    def bases(self, app: str, output: str) -> Sequence[Base]:
        """The dynos of the app on a server."""
        texts: dict[str, list[str]] = {}
        properties: list[str] = []
        for line in output.splitlines():
            unit, colon, text = line.partition(".service:")
            if colon and naming.UNIT_NAME.match(unit):
                texts.setdefault(f"{unit}.service", []).append(text)
            else:
                properties.append(line)
        states = shown.parse("\n".join(properties))
        found = []
        for unit, lines in texts.items():
            settings = ini.parse("\n".join(lines))
            dyno = settings.get(f"Unit.{naming.DYNO}", "")
            slug = _SLUG.search(settings.get("Service.BindReadOnlyPaths", ""))
            if settings.get(f"Unit.{naming.APP}") != app or not naming.DYNO_NAME.match(dyno) or slug is None:
                continue
            up = states.get(unit, {}).get("ActiveState") == "active"
            found.append(Base(dyno, slug[1], up, {"unit": "\n".join(lines)}))
        return found

    def name(self, app: str, nonce: str) -> str:
        return one_off.name(one_off.RUN, app, nonce)

    def environment(self, request: RunRequest) -> str:
        return env_file.render(request.variables)

    def argv(self, app: str, base: Base, request: RunRequest) -> Sequence[str]:
        """What starts it: ``systemd-run`` with all that its unit says. Nothing of it is secret."""
        name = self.name(app, request.nonce)
        service = {
            key.partition(".")[2]: value
            for key, value in ini.parse(base.source["unit"]).items()
            if key.startswith("Service.")
        }
        line = request.words[0] if len(request.words) == 1 else tuple(request.words)
        mode = {"terminal": ["--pty", "--wait"], "pipe": ["--pipe", "--wait"], "detached": []}[request.mode]
        options = [
            *("--quiet", "--collect", *mode, "--service-type=exec", f"--unit={name}"),
            f"--slice=dyno-{naming.escape(app)}.slice",
            f"--description={name.removeprefix('dynoctl-')} (one-off)",
        ]
        variables = _variables(service.get("Environment", "")) | {"DYNO": f"{one_off.RUN}.{request.nonce}"}
        variables.pop("PORT", None)
        options += [f"--setenv={key}={value}" for key, value in sorted(variables.items())]
        values = {key: value for key, value in service.items() if key not in _LEFT_OUT and not key.startswith("Exec")}
        values |= {
            "DynamicUser": "yes",
            # Later files win. The first is the dyno's own: its values never leave the server.
            "EnvironmentFile": f"{paths.env_file(app, base.dyno)}\n{one_off.environment(name)}",
            "CPUQuota": CPU,
            "KillMode": "control-group",
            "TimeoutStopSec": STOP_SECONDS,
            "SyslogIdentifier": name,
            "RuntimeMaxSec": str(request.seconds) if request.seconds else "infinity",
        }
        for key, value in values.items():
            for part in value.split("\n"):
                options += ["-p", f"{key}={part.replace('%%', '%')}"]
        # systemd expands what stands behind a dollar sign in the words of a unit; doubled, it means itself.
        words = [word.replace("$", "$$") for word in ("/bin/sh", "-c", _WAIT, one_off.RUN, *argv(line))]
        return ["systemd-run", *options, "--", *words]


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
  case $file in *-ready.service) ;; *) set -- "$@" "${file##*/}" ;; esac
done
[ $# -gt 0 ] || exit 0
systemctl show -p Id,ActiveState -- "$@"
cd /etc/systemd/system && grep -Hs '' -- "$@"
:
"""
