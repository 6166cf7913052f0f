"""The settings of a dyno's two units: its service, and the companion that waits until it is healthy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from infra.manifest.model import DynoType, Writable
from infra.model import naming, paths
from infra.model.resource import Attributes
from infra.model.sandbox import SANDBOX, joined, network, unset
from infra.model.sandbox import temporary as temporary_file_systems
from infra.model.stack import ORIGINAL
from infra.model.volume import volume_path
from providers import credentials, health, idle, ini, launcher, tmp, volume
from providers.health import Check
from providers.unit import READY_TIMEOUT

BOUND = {
    "rackup": f"{paths.GENERATED}/config.ru",
    "server_config": f"{paths.GENERATED}/server.rb",
    "launcher": f"{paths.GENERATED}/launcher",
}
"""The path of each kind of launch file inside a dyno."""

SYSTEMCTL = "/usr/bin/systemctl"

READY_WEIGHT = "20"
"""Its share of a busy CPU beside the dyno, which has 100: it starts as the dyno boots, and must not slow that down."""

READY_MEMORY = 128 << 20
"""Memory limit in bytes of the process that checks the health."""

BOOT_QUOTA = 100
"""CPU quota in percent of a core while a dyno boots: four times its own, and still bounded in a crash loop."""

STEADY = 2
"""Seconds that a dyno without a port must stay up to count as started."""

STOP_SECONDS = 30
"""Seconds that a dyno other than an app server has to finish its work when it is stopped."""


@dataclass(frozen=True)
class DynoUnit:
    """Everything that a dyno's unit is made from.

    ``cpu`` is in thousandths of a core, ``memory`` in bytes. ``environment`` holds the variables that every dyno has;
    the env file may override them. ``files`` are the digests of the launch files by kind, ``writable`` the writable
    directories in the slug. ``port`` is 0 unless it is a web dyno."""

    app: str
    dyno: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    slug: str
    cpu: int
    memory: int
    listen: str = ""
    port: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    writable: tuple[Writable, ...] = ()
    cover: str = ""
    """The path, relative to the app, of the file of the slug that the launch file ``cover`` is in place of."""
    config_vars: Collection[str] = ()
    """The names of its config vars."""
    credentials: tuple[str, ...] = ()
    """The names of its credential files."""
    volumes: Mapping[str, str] = field(default_factory=dict)
    """The path of each volume in the app's directory, by name."""
    network: Mapping[str, str] = field(default_factory=network)
    """The settings that say what it reaches."""
    mounts: str = paths.MOUNTS
    """Where the directory of the mounted slugs really is."""
    tmp: int = DynoType.tmp
    shm: int = DynoType.shm
    """The sizes in bytes of its /tmp and its /dev/shm."""
    stop_signal: str = "SIGTERM"
    stop_seconds: int = STOP_SECONDS
    workers: int = 0
    """Its worker processes, of which a master replaces those that end; 0 if it is a single process."""
    ruby: str = "/usr/bin/ruby"
    health: Check = field(default_factory=Check)
    health_command: tuple[str, ...] = ()
    """The argv that succeeds once a dyno without a port is healthy; () if its staying up is enough."""
    deadline: int = READY_TIMEOUT
    """Seconds within which the dyno must become healthy."""
    idle: int = 0
    """Seconds without a request after which the dyno stops; 0: never."""


def attributes(dyno: DynoUnit) -> Attributes:
    """The desired attributes of ``unit.APP-TYPE.N``."""
    return {
        "unit": service(dyno),
        "ready": ready(dyno),
        "drop_ins": (),
        "enabled": not dyno.idle,
        "state": "running",
        "cpu": percent(dyno.cpu),
    }


def service(dyno: DynoUnit) -> dict[str, str]:
    """The dyno's own unit."""
    unit = naming.user_name(dyno.app, dyno.dyno)
    mount = paths.mount_unit(dyno.app, dyno.slug, dyno.mounts)
    needs = f"{mount} {unit}.socket" if dyno.port else mount
    # Wanted, not required: the restart of a unit that is required restarts this one in turn, and since version 254
    # (seen on 257) systemd then forgets how often it has restarted. The launcher checks that it is mounted.
    temporary = paths.temporary_unit(dyno.app, dyno.dyno)
    web = {f"Unit.{naming.LISTEN}": dyno.listen, f"Unit.{naming.PORT}": str(dyno.port)} if dyno.port else {}
    port = {"PORT": str(dyno.port)} if dyno.port else {}
    # After a boot of the server, its first request starts it.
    idling = {f"Unit.{naming.IDLE}": str(dyno.idle)} if dyno.idle else {}
    install = {} if dyno.idle else {"Install.WantedBy": "multi-user.target"}
    return {
        "Unit.Description": f"dyno {dyno.dyno} of {dyno.app}",
        f"Unit.{naming.APP}": dyno.app,
        f"Unit.{naming.DYNO}": dyno.dyno,
        **web,
        **idling,
        f"Unit.{naming.CPU}": str(dyno.cpu),
        "Unit.Wants": f"network-online.target {unit}-ready.service {temporary}",
        "Unit.Requires": needs,
        "Unit.After": f"network-online.target {needs} {temporary}",
        f"Unit.{naming.TMP}": str(dyno.tmp),
        **requires_mounts(_volume_paths(dyno)),
        # No start limit: a crash loop is slow, bounded by the CPU quota, and ends when its cause is fixed.
        "Unit.StartLimitIntervalSec": "0",
        "Service.Type": "exec",
        "Service.User": unit,
        "Service.Group": unit,
        **inside(dyno, dyno.dyno, {**port, "DYNO": dyno.dyno}, paths.env_file(dyno.app, dyno.dyno)),
        **credentials.load(paths.credentials(dyno.app, dyno.dyno), dyno.credentials),
        "Service.ExecStart": exec_line(launched(dyno, dyno.argv)),
        **_health_command(dyno),
        **_out_of_memory(dyno),
        "Service.Restart": "always",
        "Service.RestartSec": "1",
        "Service.SyslogIdentifier": f"{dyno.app}-{dyno.dyno}",
        "Service.CPUQuota": percent(dyno.cpu),
        **install,
    }


# Its output goes to the log of the dyno. It may start Ruby each time, so it rests as long as it took, up to 5 s.
UNTIL = (
    'while :; do since=$(date +%s); "$@" && exit; took=$(($(date +%s) - since)); '
    '[ "$took" -le 5 ] || took=5; sleep "$((took > 0 ? took : 1))"; done'
)
"""The shell script that runs its arguments until they succeed."""


def _out_of_memory(dyno: DynoUnit) -> dict[str, str]:
    """The setting by which a dyno outlives a worker that the kernel has killed at the memory limit. Otherwise, on
    cgroup v2, systemd stops a unit of which any process was killed. If it was the only worker, nothing is lost by that:
    the dyno restarts, its restart is counted, and its /tmp, which may be what fills the memory, is emptied."""
    return {"Service.OOMPolicy": "continue"} if dyno.workers > 1 else {}


def _health_command(dyno: DynoUnit) -> dict[str, str]:
    """The settings by which a dyno counts as started once its health command succeeds. The command runs in the dyno's
    own sandbox, as its user and with its config vars, and sees what the dyno writes into /tmp and its volumes."""
    if not dyno.health_command:
        return {}
    words = ("/bin/sh", "-c", UNTIL, "health", *dyno.health_command)
    return {"Service.ExecStartPost": exec_line(launched(dyno, words)), "Service.TimeoutStartSec": str(dyno.deadline)}


def inside(dyno: DynoUnit, name: str, variables: Mapping[str, str], env_file: str) -> dict[str, str]:
    """The settings shared by every process of a release, dynos and candidates: slug, environment, limits, sandbox.

    ``name`` is that of the dyno or one-off dyno, whose /tmp it has."""
    binds = [f"{paths.mount(dyno.app, dyno.slug)}:{paths.APP_DIRECTORY}"]
    # In a directory that is filled from the slug, what it is filled from has the file: the directory is empty at first.
    filled = any(entry.seed and dyno.cover.startswith(f"{entry.path}/") for entry in dyno.writable)
    covered = {"cover": f"{launcher.SEED if filled else paths.APP_DIRECTORY}/{dyno.cover}"}
    binds += [
        f"{paths.launch_file(dyno.app, kind, digest)}:{(BOUND | covered)[kind]}" for kind, digest in dyno.files.items()
    ]
    if dyno.cover:
        binds.append(f"{paths.mount(dyno.app, dyno.slug)}/{dyno.cover}:{ORIGINAL}")
    binds += [
        f"{paths.mount(dyno.app, dyno.slug)}/{entry.path}:{launcher.SEED}/{entry.path}"
        for entry in dyno.writable
        if entry.seed
    ]
    environment = {**dyno.environment, **variables}
    temporary = []
    if dyno.files:
        temporary.append(f"{paths.GENERATED}:ro,nosuid,nodev,noexec,mode=0755,size=64k")
    temporary += [
        f"{paths.APP_DIRECTORY}/{entry.path}:rw,nosuid,nodev,mode=1777,size={entry.size or dyno.memory}"
        for entry in dyno.writable
    ]
    own = {"TemporaryFileSystem": "\n".join(temporary)} if temporary else {}
    own["BindPaths"] = tmp.binds(dyno.app, name)
    sandbox = {**SANDBOX, "TemporaryFileSystem": temporary_file_systems(dyno.shm)}
    return {
        "Service.Slice": f"dyno-{naming.escape(dyno.app)}.slice",
        "Service.LogNamespace": naming.log_namespace(dyno.app),
        "Service.WorkingDirectory": paths.APP_DIRECTORY,
        "Service.Environment": "\n".join(ini.environment(name, environment[name]) for name in sorted(environment)),
        "Service.EnvironmentFile": env_file,
        "Service.UnsetEnvironment": unset({*environment, *dyno.config_vars}),
        # An app server lets its workers finish their requests; a command of the manifest may have children of any kind.
        "Service.KillMode": "mixed" if dyno.port else "control-group",
        "Service.KillSignal": dyno.stop_signal,
        "Service.TimeoutStopSec": str(dyno.stop_seconds),
        "Service.MemoryMax": str(dyno.memory),
        "Service.MemorySwapMax": "0",
        "Service.TasksMax": "256",
        "Service.LimitNOFILE": "65536",
        **in_service(joined({"BindReadOnlyPaths": "\n".join(binds)}, sandbox, dyno.network, own, _volumes(dyno))),
    }


def file_systems(dyno: DynoUnit, name: str) -> dict[str, str]:
    """The settings that mount the file systems of a schedule or a one-off dyno first, which systemd never restarts: its
    /tmp, and its volumes."""
    own = paths.temporary(dyno.app, name)
    return {f"Unit.{naming.TMP}": str(dyno.tmp), **requires_mounts([own, *_volume_paths(dyno)])}


def requires_mounts(places: Sequence[str]) -> dict[str, str]:
    """The setting that mounts what is mounted at some paths first."""
    return {"Unit.RequiresMountsFor": " ".join(places)} if places else {}


def _volume_paths(dyno: DynoUnit) -> list[str]:
    """The paths of its volumes, which may be disks of their own."""
    return [volume_path(dyno.app, volume) for volume in sorted(dyno.volumes)]


def _volumes(dyno: DynoUnit) -> dict[str, str]:
    """The settings that let a dyno use its volumes, and create files there that later dynos can write to."""
    if not dyno.volumes:
        return {}
    binds = [f"{volume_path(dyno.app, name)}:{paths.APP_DIRECTORY}/{at}" for name, at in sorted(dyno.volumes.items())]
    return {
        "BindPaths": "\n".join(binds),
        "SupplementaryGroups": volume.group(dyno.app),
        "UMask": "0007",
        "ExecStopPost": "-" + exec_line(volume.share(f"{paths.APP_DIRECTORY}/{at}" for at in dyno.volumes.values())),
    }


def ready(dyno: DynoUnit) -> dict[str, str]:
    """The companion unit: raise the CPU quota to one core, wait until the dyno is healthy (without a port: some
    seconds), then set the dyno's own quota. It restarts with the dyno."""
    user = naming.user_name(dyno.app, dyno.dyno)
    unit = f"{user}.service"

    def set_quota(percent: str) -> str:
        return f"+{SYSTEMCTL} set-property --runtime {unit} CPUQuota={percent.replace('%', '%%')}"

    quota = f"{max(BOOT_QUOTA, dyno.cpu // 10)}%"
    steady, boot = set_quota(percent(dyno.cpu)), set_quota(quota)
    watch = f"\n{idle.watch(dyno.app, dyno.dyno, dyno.port, dyno.idle, quota)}" if dyno.idle else ""
    # Only the lines that set the CPU quota or start the watch run as root, without variables of the app.
    poll = health.command(dyno.ruby, health.PROGRAM, dyno.health.arguments(dyno.listen, dyno.port, "any"))
    settings = {
        "Unit.Description": f"dyno {dyno.dyno} of {dyno.app} {'answers' if dyno.port else 'stays up'}",
        f"Unit.{naming.APP}": dyno.app,
        "Unit.BindsTo": unit,
        "Unit.After": unit,
        "Unit.StartLimitIntervalSec": "0",
        "Service.Type": "oneshot",
        "Service.User": user,
        "Service.Group": user,
        "Service.Slice": f"dyno-{naming.escape(dyno.app)}.slice",
        "Service.LogNamespace": naming.log_namespace(dyno.app),
        "Service.MemoryMax": str(READY_MEMORY),
        "Service.CPUWeight": READY_WEIGHT,
        "Service.RemainAfterExit": "yes",
        "Service.TimeoutStartSec": str(dyno.deadline),
        "Service.ExecStartPre": boot,
        "Service.ExecStart": exec_line(poll if dyno.port else ["/usr/bin/sleep", str(STEADY)]),
        "Service.ExecStartPost": steady + watch,
        # The quota is lowered even if the dyno never became healthy.
        "Service.ExecStopPost": f"+/bin/sh -c '[ \"$$SERVICE_RESULT\" = success ] || exec {steady[1:]}'",
        "Service.SyslogIdentifier": f"{dyno.app}-{dyno.dyno}",
    }
    # The lines that run as root see the unit's mounts, too. Nobody else may connect to systemd's own socket.
    manager = {"BindReadOnlyPaths": "-/run/systemd/private -/run/systemd/system"}
    return settings | in_service(joined(SANDBOX, manager))


def in_service(settings: Mapping[str, str]) -> dict[str, str]:
    """Settings as they are named in a unit file."""
    return {f"Service.{key}": value for key, value in settings.items()}


def launched(dyno: DynoUnit, argv: tuple[str, ...]) -> tuple[str, ...]:
    """The command line that starts a program of the dyno, by ``infra.model.landlock``."""
    return ("/bin/sh", BOUND["launcher"], *argv) if "launcher" in dyno.files else argv


def exec_line(argv: Sequence[str]) -> str:
    """An argv as the value of a unit setting such as ``ExecStart=``."""
    return " ".join(ini.quote(word) for word in argv)


def percent(thousandths: int) -> str:
    """Thousandths of a core as a value of ``CPUQuota=``, such as ``25%``."""
    return f"{thousandths / 10:g}%"
