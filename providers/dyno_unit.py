"""The settings of a dyno's two units: the app server's service, and the companion that waits for its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra import marks
from infra.resource import Attributes
from providers import ini, paths
from providers.sandbox import SANDBOX
from providers.unit import READY_TIMEOUT

SYSTEMCTL = "/usr/bin/systemctl"

READY_MEMORY = 128 << 20
"""Bytes for the process that waits for the answer."""

BOOT_QUOTA = 100
"""Percent of a core while a dyno boots: four times its share, and still bounded if it crashes in a loop."""

# One connection at a time, until something that speaks HTTP answers. It reads from the app, so it runs as the dyno's
# user in the dyno's sandbox. Only the lines that set the share are root's, and this unit has no variable of the app.
_POLL = (
    "loop { begin; Socket.tcp(ARGV[0], ARGV[1].to_i, connect_timeout: 5) { |s| "
    's.write "GET / HTTP/1.0\\r\\nHost: #{ARGV[0]}\\r\\nUser-Agent: dynoctl\\r\\n\\r\\n"; '
    'exit if s.wait_readable(10) && s.gets(16).to_s.start_with?("HTTP/") }; '
    "rescue SystemCallError, SocketError; end; sleep 0.02 }"
)


@dataclass(frozen=True)
class DynoUnit:
    """Everything a dyno's unit says. ``cpu`` in thousandths of a core, ``memory`` in bytes; ``argv`` is the app
    server's command and ``environment`` what every dyno has; the env file may override it."""

    app: str
    dyno: str
    listen: str
    port: int
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    slug: str
    rackup: str | None
    cpu: int
    memory: int
    stop_signal: str = "SIGTERM"
    stop_seconds: int = 30
    ruby: str = "/usr/bin/ruby"


def attributes(dyno: DynoUnit) -> Attributes:
    """The desired attributes of ``unit.APP-TYPE.N``."""
    return {
        "unit": service(dyno),
        "ready": ready(dyno),
        "drop_ins": (),
        "enabled": True,
        "state": "running",
        "cpu": _percent(dyno.cpu),
    }


def service(dyno: DynoUnit) -> dict[str, str]:
    """The app server's unit."""
    unit = marks.user_name(dyno.app, dyno.dyno)
    mount = paths.mount_unit(dyno.app, dyno.slug)
    binds = f"{paths.mount(dyno.app, dyno.slug)}:{paths.APP_DIRECTORY}"
    if dyno.rackup is not None:
        binds += f"\n{paths.rackup(dyno.app, dyno.rackup)}:{paths.BOUND_RACKUP}"
    variables = {**dyno.environment, "PORT": str(dyno.port), "DYNO": dyno.dyno}
    settings = {
        "Unit.Description": f"dyno {dyno.dyno} of {dyno.app}",
        f"Unit.{marks.APP}": dyno.app,
        f"Unit.{marks.DYNO}": dyno.dyno,
        f"Unit.{marks.LISTEN}": dyno.listen,
        f"Unit.{marks.PORT}": str(dyno.port),
        f"Unit.{marks.CPU}": str(dyno.cpu),
        "Unit.Wants": f"network-online.target {unit}-ready.service",
        "Unit.Requires": mount,
        "Unit.After": f"network-online.target {mount}",
        # A crash loop is slow and bounded, and ends by itself when its cause does.
        "Unit.StartLimitIntervalSec": "0",
        "Service.Type": "exec",
        "Service.User": unit,
        "Service.Group": unit,
        "Service.Slice": f"dyno-{marks.escape(dyno.app)}.slice",
        "Service.WorkingDirectory": paths.APP_DIRECTORY,
        "Service.BindReadOnlyPaths": binds,
        "Service.Environment": "\n".join(ini.environment(name, variables[name]) for name in sorted(variables)),
        "Service.EnvironmentFile": paths.env_file(dyno.app, dyno.dyno),
        "Service.ExecStart": " ".join(ini.quote(word) for word in dyno.argv),
        "Service.Restart": "always",
        "Service.RestartSec": "1",
        "Service.KillSignal": dyno.stop_signal,
        "Service.TimeoutStopSec": str(dyno.stop_seconds),
        "Service.SyslogIdentifier": f"{dyno.app}-{dyno.dyno}",
        "Service.CPUQuota": _percent(dyno.cpu),
        "Service.MemoryMax": str(dyno.memory),
        "Service.MemorySwapMax": "0",
        "Service.TasksMax": "256",
        "Service.LimitNOFILE": "65536",
    }
    settings |= {f"Service.{key}": value for key, value in SANDBOX.items()}
    settings["Install.WantedBy"] = "multi-user.target"
    return settings


def ready(dyno: DynoUnit) -> dict[str, str]:
    """The companion: lift the share to one core, wait for an HTTP answer, set the share. Follows every restart."""
    user = marks.user_name(dyno.app, dyno.dyno)
    unit = f"{user}.service"

    def share(percent: str) -> str:
        return f"+{SYSTEMCTL} set-property --runtime {unit} CPUQuota={percent.replace('%', '%%')}"

    steady, boot = share(_percent(dyno.cpu)), share(f"{max(BOOT_QUOTA, dyno.cpu // 10)}%")
    poll = [dyno.ruby, "--disable=gems", "-rsocket", "-rio/wait", "-e", _POLL, dyno.listen, str(dyno.port)]
    settings = {
        "Unit.Description": f"dyno {dyno.dyno} of {dyno.app} answers",
        f"Unit.{marks.APP}": dyno.app,
        "Unit.BindsTo": unit,
        "Unit.After": unit,
        "Unit.StartLimitIntervalSec": "0",
        "Service.Type": "oneshot",
        "Service.User": user,
        "Service.Group": user,
        "Service.Slice": f"dyno-{marks.escape(dyno.app)}.slice",
        "Service.MemoryMax": str(READY_MEMORY),
        "Service.RemainAfterExit": "yes",
        "Service.TimeoutStartSec": str(READY_TIMEOUT),
        "Service.ExecStartPre": boot,
        "Service.ExecStart": " ".join(ini.quote(word) for word in poll),
        "Service.ExecStartPost": steady,
        # Where it never answered, the share comes down all the same.
        "Service.ExecStopPost": f"+/bin/sh -c '[ \"$$SERVICE_RESULT\" = success ] || exec {steady[1:]}'",
        "Service.SyslogIdentifier": f"{dyno.app}-{dyno.dyno}",
    }
    return settings | {f"Service.{key}": value for key, value in SANDBOX.items()}


def _percent(thousandths: int) -> str:
    return f"{thousandths / 10:g}%"
