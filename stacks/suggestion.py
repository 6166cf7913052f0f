"""What ``init`` suggests for an app, before it is written as a dyno.yaml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stacks.sources.found import Login, Machine, Process, Schedule, Secret, Volume


@dataclass(frozen=True)
class Rules:
    """What the manifest allows: why a variable cannot be set ("" if it can), and what is wrong with a cron expression
    ("" if nothing)."""

    refused: Callable[[str], str] = lambda name: ""
    cron: Callable[[str], str] = lambda text: ""


@dataclass(frozen=True)
class Backing:
    """A database or a cache: its adapter, and the variable that holds its URL, or the path of a SQLite file."""

    adapter: str
    variable: str = ""
    path: str = ""


@dataclass(frozen=True)
class Route:
    """The router: its kind, its host names, and the contact address if it obtains certificates ("" if not)."""

    kind: str
    hosts: tuple[str, ...]
    acme: str = ""
    timeout: int | None = None
    """Seconds that a dyno has to start its response, None for the default."""


@dataclass(frozen=True)
class Suggestion:
    """How an app could run. ``framework`` holds the keys of the manifest, ``types`` the process types other than web,
    ``notes`` sentences for the user: what is not carried over, and what to do before the first apply."""

    name: str = ""
    """The name of the app that a file gives; "" is that of the directory."""
    framework: Mapping[str, str] = field(default_factory=dict)
    rackup: str = ""
    server: str = "thin"
    options: Mapping[str, int | bool] = field(default_factory=dict)
    ruby: str = ""
    database: Backing | None = None
    databases: Mapping[str, Backing] = field(default_factory=dict)
    cache: Backing | None = None
    build: tuple[str, ...] = ()
    builder: bool = False
    """Whether the first server builds the slug."""
    packages: tuple[str, ...] = ()
    web: Process = field(default_factory=lambda: Process(count=2))
    types: Mapping[str, Process] = field(default_factory=dict)
    middleware: tuple[str, ...] = ()
    """As lines of YAML."""
    release: str = ""
    migrates: str = ""
    """A release command that is likely, and is written as a comment."""
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    health: str = ""
    deadline: int | None = None
    max_parallel: int | str | None = None
    volumes: tuple[Volume, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    machines: tuple[Machine, ...] = ()
    login: Login = field(default_factory=Login)
    route: Route | None = None
    routed: bool = False
    """Whether the platform had a router in front of the app, so that an example is written if its hosts are unknown."""
    keep: int | None = None
    notes: tuple[str, ...] = ()
