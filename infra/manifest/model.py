"""The model of a valid manifest, with defaults filled in and references unresolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from infra.errors import Diagnostic
from infra.manifest.apps import App as App
from infra.manifest.apps import AppServer as AppServer
from infra.manifest.apps import Framework as Framework
from infra.manifest.apps import Json as Json
from infra.manifest.apps import Map as Map
from infra.manifest.apps import Packages as Packages
from infra.manifest.apps import Ruby as Ruby
from infra.manifest.apps import Use as Use
from infra.manifest.apps import Writable as Writable
from infra.manifest.artifacts import Artifacts as Artifacts
from infra.manifest.rollouts import Health as Health
from infra.manifest.rollouts import Rollout as Rollout
from infra.manifest.values import Reference as Reference
from infra.manifest.values import Value as Value

Network = Literal["none", "local", "all"]
"""What a dyno reaches: nothing, the server and private networks, or everything."""


@dataclass(frozen=True)
class DynoType:
    """A process type of the formation.

    ``cpu`` is the CPU quota in thousandths of a core, ``memory`` the limit in bytes, ``port`` the first port that a
    server assigns to this type. ``command`` is a shell command line or an argv; None is the app server, which alone
    listens on a port. ``stop_timeout`` is in seconds; None is the default of the app server."""

    name: str
    count: int
    cpu: int = 250
    memory: int = 512 * 1024 * 1024
    port: int = 5000
    command: str | tuple[str, ...] | None = None
    stop_timeout: int | None = None
    network: Network = "all"
    metadata: bool = False
    """Whether it reaches the metadata service of a cloud."""
    bind: tuple[int, ...] = ()
    """The TCP ports on which it may listen."""
    tmp: int = 256 * 1024 * 1024
    shm: int = 64 * 1024 * 1024
    """The sizes in bytes of its /tmp, which is its /var/tmp as well, and of its /dev/shm."""
    health: str | tuple[str, ...] | None = None
    """The command that succeeds once a dyno is healthy, of a type that listens on no port."""
    idle: int | None = None
    """Seconds without a request after which a web dyno stops until the next one; None: never."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The labels that a server must have to run its dynos."""


@dataclass(frozen=True)
class Schedule:
    """A command that runs at scheduled times, in its own dyno on one server.

    ``calendar`` holds the times as calendar events of systemd, ``when`` as they are written. ``timeout`` is in
    seconds; other keys are those of a ``DynoType``, but a ``cpu`` of 0 reserves nothing. A scheduled time during a run
    is dropped (``skip``), or the command runs once afterwards (``queue``)."""

    name: str
    command: str | tuple[str, ...]
    calendar: tuple[str, ...]
    when: str
    timeout: int = 3600
    concurrency: Literal["skip", "queue"] = "skip"
    cpu: int = DynoType.cpu
    memory: int = DynoType.memory
    network: Network = "all"
    metadata: bool = False
    tmp: int = DynoType.tmp
    shm: int = DynoType.shm
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def type(self) -> DynoType:
        """The schedule as a process type with one dyno."""
        kept = (self.name, 1, self.cpu, self.memory)
        own = DynoType(*kept, command=self.command, network=self.network, metadata=self.metadata)
        return replace(own, tmp=self.tmp, shm=self.shm, labels=self.labels)


@dataclass(frozen=True)
class Volume:
    """A directory that outlives dynos. ``path`` is relative to the app; ``types`` () is all; ``size`` 0 is no limit.
    ``labels`` are those that the server of the volume must have."""

    name: str
    path: str
    types: tuple[str, ...] = ()
    size: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Backing:
    """A database or a cache: its adapter, and its URL or its parts. ``port`` None is the standard port of the adapter,
    ``name`` is the database (for redis its number), ``options`` are the query parameters of the URL. ``path`` is the
    file of a SQLite database, relative to the app."""

    adapter: str
    url: Value | None = None
    host: str = ""
    port: int | None = None
    name: str = ""
    user: Value | None = None
    password: Value | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    path: str = ""


@dataclass(frozen=True)
class Server:
    """``user`` and ``port`` are None if ssh_config or the default decides. ``listen`` is the address on which the dynos
    listen; None is the address by which the server was reached. If ``drain`` is true, the dynos of the server move to
    other servers."""

    name: str
    host: str
    user: str | None = None
    port: int | None = None
    listen: str | None = None
    drain: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    dynos: bool = True
    """Whether dynos run on this server."""


@dataclass(frozen=True)
class Router:
    """The reverse proxy in front of the web dynos; ``servers`` are the names of its servers.

    Without ``hosts``, the app gets every host name that is not routed to another app. HTTPS needs ``certificate`` and
    ``key``, or ``acme``, the contact address for certificates that the router obtains."""

    kind: str
    servers: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    http: int = 80
    https: int = 443
    certificate: Reference | None = None
    key: Reference | None = None
    acme: str | None = None
    timeout: int = 30
    trusted_proxies: tuple[str, ...] = ()
    """The networks, in CIDR notation, of load balancers in front of it."""


@dataclass(frozen=True)
class Ssh:
    """How to log in. Paths are absolute, with ``~`` expanded; None is what ssh_config and the SSH agent provide."""

    user: str | None = None
    key: Path | None = None
    known_hosts: Path | None = None
    gateway: str | None = None
    connect_timeout: int = 10
    """Seconds to wait for the connection and the login."""


@dataclass(frozen=True)
class Checks:
    """Rules that every plan must pass. ``min_healthy`` is a number or a percentage such as ``75%`` by process type,
    ``max_exposure`` an exposure level from 0 to 10, ``min_spread`` a minimum number of values by label."""

    min_healthy: Mapping[str, int | str] = field(default_factory=dict)
    max_exposure: float | None = None
    forbid_root_login: bool = False
    min_spread: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Preview:
    """What all previews of an app share. Each has the host NAME. and ``host``; it expires ``expires`` seconds after its
    last release. ``create`` and ``drop`` are local commands that make its data, and remove it."""

    host: str
    expires: int = 7 * 86400
    create: str | tuple[str, ...] | None = None
    drop: str | tuple[str, ...] | None = None


@dataclass(frozen=True)
class Manifest:
    """A valid manifest. ``rackup`` or ``framework`` names the app; with both, ``rackup`` does, and ``framework`` only
    adds what else the framework needs. ``databases`` and ``caches`` are those in addition to the first, by name."""

    file: Path
    app: App
    servers: tuple[Server, ...]
    dynos: Mapping[str, DynoType]
    destination: str | None = None
    """The NAME of ``-d NAME``; None without an overlay."""
    files: tuple[Path, ...] = ()
    """All files that were merged, the base first."""
    digest: str = ""
    """The sha256 of these files, in hex."""
    framework: Framework | None = None
    rackup: str | None = None
    ruby: Ruby = field(default_factory=Ruby)
    packages: Packages = field(default_factory=Packages)
    builder: str | None = None
    """The server on which ``app.build`` runs; None is the local machine."""
    app_server: AppServer = field(default_factory=AppServer)
    middleware: tuple[Use | Map, ...] = ()
    env: Mapping[str, Value] = field(default_factory=dict)
    credentials: Mapping[str, Reference] = field(default_factory=dict)
    """Secrets that dynos read from files, by file name."""
    schedule: tuple[Schedule, ...] = ()
    volumes: tuple[Volume, ...] = ()
    database: Backing | None = None
    cache: Backing | None = None
    databases: Mapping[str, Backing] = field(default_factory=dict)
    caches: Mapping[str, Backing] = field(default_factory=dict)
    ssh: Ssh = Ssh()
    artifacts: Artifacts = field(default_factory=Artifacts)
    release_command: str | tuple[str, ...] | None = None
    """A shell command line or an argv that runs once for a new release, before any dyno moves."""
    rollout: Rollout = field(default_factory=Rollout)
    checks: Checks = field(default_factory=Checks)
    keep: int = 5
    """The number of slugs kept on the servers, including the current one."""
    spread: str | None = None
    """The label over whose values dynos are spread first, then over the servers."""
    per_core: int = 1000
    """The CPU quotas of dynos that a core takes, in thousandths: more than 1000 with ``placement.overcommit``."""
    router: Router | None = None
    preview: Preview | None = None
    warnings: tuple[Diagnostic, ...] = field(default=(), compare=False)
    """What is valid, and probably not meant."""
    impossible: tuple[Diagnostic, ...] = field(default=(), compare=False)
    """Rules of ``checks`` that no plan can pass."""

    @property
    def types(self) -> Mapping[str, DynoType]:
        """The process types, then the schedules as process types, by name."""
        return {**self.dynos, **{schedule.name: schedule.type for schedule in self.schedule}}

    @property
    def environment(self) -> str:
        """The name of the environment in records: ``destination``, or ``default`` without one."""
        return self.destination or "default"
