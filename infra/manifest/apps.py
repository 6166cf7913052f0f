"""What runs in a dyno: the model of the app, its packages, and its layers from Ruby to the middleware."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True)
class Writable:
    """A directory of the app that a dyno may write to, in memory. ``size`` is in bytes; 0 is the memory of the dyno.
    If ``seed`` is true, each start fills it with the files of the slug."""

    path: str
    size: int = 0
    seed: bool = False


@dataclass(frozen=True)
class App:
    """``name`` matches ``[a-z][a-z0-9]*(-[a-z0-9]+)*``; ``source`` is an absolute directory. ``build`` holds shell
    commands that run in a copy of it."""

    name: str
    source: Path
    build: tuple[str, ...] = ()
    writable: tuple[Writable, ...] = ()


@dataclass(frozen=True)
class Ruby:
    """``version`` is a requirement in RubyGems' syntax (``>= 3.1, < 4``); ``path`` is a ruby program
    other than the distribution's; ``bundler`` is true if everything runs with ``bundle exec``."""

    version: str = ">= 2.7"
    path: str | None = None
    bundler: bool = False


@dataclass(frozen=True)
class Packages:
    """``manual``: only check for the packages of the layers. ``names``: additional packages of the app. ``builder``:
    those only of the server on which it is built. ``upgrade``: whether what stands in the way is upgraded."""

    manual: bool = False
    names: tuple[str, ...] = ()
    builder: tuple[str, ...] = ()
    upgrade: bool = False


@dataclass(frozen=True)
class AppServer:
    name: str = "thin"
    options: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Framework:
    """``require`` is what Ruby requires first (``./app``); ``app`` names a constant that responds to ``call``."""

    name: str
    require: str | None = None
    app: str | None = None


@dataclass(frozen=True)
class Use:
    """A middleware: ``use NAME, *args, **options`` after ``require``."""

    name: str
    require: str | None = None
    args: tuple[Json, ...] = ()
    options: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Map:
    """An app at a URL prefix in the same process, wrapped by the ``use`` entries before it."""

    path: str
    app: str
    require: str | None = None
