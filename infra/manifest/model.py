"""The manifest as values: what a valid dyno.yaml says, with defaults filled in and nothing resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True)
class Reference:
    """A value that is not in the file: an environment variable, a file, or a command's output.

    ``value`` is a name for ``from_env``, a path for ``from_file`` and an argv tuple for ``from_command``.
    What it gives is secret everywhere.
    """

    kind: Literal["from_env", "from_file", "from_command"]
    value: str | tuple[str, ...]


Value = str | Reference


@dataclass(frozen=True)
class App:
    """``name`` matches ``[a-z][a-z0-9]*(-[a-z0-9]+)*``; ``source`` is an absolute directory. ``build`` are shell
    commands that run in a copy of it before it is sealed, ``writable`` directories in it that a dyno may write to."""

    name: str
    source: Path
    build: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ruby:
    """``version`` is a requirement in RubyGems' syntax (``>= 3.1, < 4``); ``path`` a Ruby that is not the system's;
    ``bundler`` says whether everything runs with ``bundle exec``."""

    version: str = ">= 2.7"
    path: str | None = None
    bundler: bool = False


@dataclass(frozen=True)
class Packages:
    """Whether dynoctl installs the layers' packages, and the ``names`` of those that the app needs beside them."""

    manual: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class AppServer:
    name: str = "thin"
    options: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Framework:
    """``require`` is what Ruby requires first (``./app``); ``app`` names a constant that answers ``call``."""

    name: str
    require: str | None = None
    app: str | None = None


@dataclass(frozen=True)
class Use:
    """One middleware: ``use NAME, *args, **options`` after ``require``."""

    name: str
    require: str | None = None
    args: tuple[Json, ...] = ()
    options: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Map:
    """One app at a URL prefix, in the same process; wrapped by the ``use`` entries before it."""

    path: str
    app: str
    require: str | None = None


@dataclass(frozen=True)
class DynoType:
    """One line of the formation. ``cpu`` is in thousandths of a core (250 = a quarter, a dyno's share),
    ``memory`` in bytes, ``port`` is the first port that a server gives out for this type.
    ``command`` is a line for a shell, or an argv; None is the app server, and only that listens on a port.
    ``stop_timeout`` in seconds; None is what suits it."""

    name: str
    count: int
    cpu: int = 250
    memory: int = 512 * 1024 * 1024
    port: int = 5000
    command: str | tuple[str, ...] | None = None
    stop_timeout: int | None = None


@dataclass(frozen=True)
class Schedule:
    """A command that runs at moments that come again, in a dyno of its own on one server. ``calendar`` holds them as
    systemd's calendar events, ``when`` as they are written; ``timeout`` in seconds; ``cpu`` and ``memory`` as a
    ``DynoType``'s. What comes while it still runs is left out (``skip``), or runs once afterwards (``queue``)."""

    name: str
    command: str | tuple[str, ...]
    calendar: tuple[str, ...]
    when: str
    timeout: int = 3600
    concurrency: Literal["skip", "queue"] = "skip"
    cpu: int = DynoType.cpu
    memory: int = DynoType.memory

    @property
    def type(self) -> DynoType:
        """It as a type of which there is one dyno."""
        return DynoType(self.name, 1, self.cpu, self.memory, command=self.command)


@dataclass(frozen=True)
class Volume:
    """A directory that outlives its dynos. ``path`` is below the app's; ``types`` of dyno have it, () is all."""

    name: str
    path: str
    types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Backing:
    """A database or a cache: its adapter, and its URL or else its parts. ``port`` None is the adapter's own,
    ``name`` a database (for redis its number), ``options`` what follows the question mark of a URL."""

    adapter: str
    url: Value | None = None
    host: str = ""
    port: int | None = None
    name: str = ""
    user: Value | None = None
    password: Value | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """``user`` and ``port`` are None where ssh_config or the default decides; ``listen`` is the address on
    which its dynos listen (None: the address by which the server was reached); one that ``drain`` takes no dynos, and
    gives away what it has."""

    name: str
    host: str
    user: str | None = None
    port: int | None = None
    listen: str | None = None
    drain: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    dynos: bool = True
    """Whether it carries any."""


@dataclass(frozen=True)
class Router:
    """What leads to the web dynos, on the ``servers`` of these names. ``hosts`` none: whatever leads nowhere else.
    HTTPS is with ``certificate`` and ``key``, or with those that ``acme`` (an e-mail address) gets, or not at all."""

    kind: str
    servers: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    http: int = 80
    https: int = 443
    certificate: Reference | None = None
    key: Reference | None = None
    acme: str | None = None
    timeout: int = 30


@dataclass(frozen=True)
class Ssh:
    """How to log in. Paths are absolute, with ``~`` expanded; None leaves it to ssh_config and the agent."""

    user: str | None = None
    key: Path | None = None
    known_hosts: Path | None = None
    gateway: str | None = None
    connect_timeout: int = 10
    """Seconds to wait for a server's TCP answer and login."""


@dataclass(frozen=True)
class Health:
    """How a web dyno is asked whether it is well. ``status`` None: any answer from 200 to 399; a ``path`` of None: the
    root, and any HTTP answer at all. ``timeout``: seconds to wait for one answer."""

    path: str | None = None
    status: int | None = None
    timeout: int = 10


@dataclass(frozen=True)
class Rollout:
    """How dynos that run are moved to a new release, in Nomad's words. ``max_parallel`` is a number of dynos or, as
    ``25%``, a share of those that move; times are in seconds."""

    max_parallel: int | str = 1
    canary: int = 0
    min_healthy_time: int = 0
    healthy_deadline: int = 60
    auto_revert: bool = True
    health: Health = Health()


@dataclass(frozen=True)
class Checks:
    """What no plan may do. ``min_healthy`` is by process type, a number or, as ``75%``, a share; ``max_exposure`` a
    rating from 0 to 10; ``min_spread`` by label, over how many of its values."""

    min_healthy: Mapping[str, int | str] = field(default_factory=dict)
    max_exposure: float | None = None
    forbid_root_login: bool = False
    min_spread: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """A whole, valid manifest. ``rackup`` says where the app is, or else ``framework`` does; with both, the
    framework is there for what else it brings. ``databases`` and ``caches`` are those beside the first, by name."""

    file: Path
    app: App
    servers: tuple[Server, ...]
    dynos: Mapping[str, DynoType]
    destination: str | None = None
    """The overlay that was chosen with ``-d``; None is the manifest as it stands."""
    files: tuple[Path, ...] = ()
    """All files that it was made from, the lowest first."""
    digest: str = ""
    """The sha256 in hex of all that they said."""
    framework: Framework | None = None
    rackup: str | None = None
    ruby: Ruby = Ruby()
    packages: Packages = Packages()
    builder: str | None = None
    """The server on which ``app.build`` runs; None is the machine that runs dynoctl."""
    app_server: AppServer = AppServer()
    middleware: tuple[Use | Map, ...] = ()
    env: Mapping[str, Value] = field(default_factory=dict)
    credentials: Mapping[str, Reference] = field(default_factory=dict)
    """What dynos get as files, by the file's name."""
    schedule: tuple[Schedule, ...] = ()
    volumes: tuple[Volume, ...] = ()
    database: Backing | None = None
    cache: Backing | None = None
    databases: Mapping[str, Backing] = field(default_factory=dict)
    caches: Mapping[str, Backing] = field(default_factory=dict)
    ssh: Ssh = Ssh()
    release_command: str | tuple[str, ...] | None = None
    """A line for a shell, or an argv, that runs once before the dynos of a new release."""
    rollout: Rollout = Rollout()
    checks: Checks = field(default_factory=Checks)
    keep: int = 5
    """How many slugs stay on the servers, the one that runs included."""
    spread: str | None = None
    """The label over whose values dynos spread before they spread over servers."""
    router: Router | None = None

    @property
    def types(self) -> Mapping[str, DynoType]:
        """Everything that has dynos: the process types, and then the schedules."""
        return {**self.dynos, **{one.name: one.type for one in self.schedule}}

    @property
    def environment(self) -> str:
        """What the servers remember of ``destination``: ``staging``, or ``default``."""
        return self.destination or "default"
