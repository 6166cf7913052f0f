"""What the files of an app say about how it runs, as values that are merged: the first source that knows wins."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Protocol

LONGEST = 120
"""Characters of a text from a file that a note repeats."""


@dataclass(frozen=True)
class Note:
    """Something that is not carried over, or that needs a look, with the reason. ``line`` 0 is the whole file."""

    text: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return plain(where + self.text)


def plain(text: str) -> str:
    """The text in one line without control characters, for a terminal and for a comment in YAML."""
    return "".join(char if char.isprintable() else " " if char in "\n\t" else "?" for char in text)


def shortened(text: str) -> str:
    """A text from a file for a note: one line, at most ``LONGEST`` characters."""
    line = _LOGIN.sub("//...@", " ".join(text[: 4 * LONGEST].split()))
    return plain(line if len(line) <= LONGEST else f"{line[:LONGEST]}...")


@dataclass(frozen=True)
class Setting:
    """An option of the app server: its value, None if the file does not know it, and the variable that replaces it."""

    value: int | bool | None
    variable: str = ""


@dataclass(frozen=True)
class Process:
    """A process type. ``command`` "" is the app server, or the command of another source; ``cpu`` is in cores,
    ``memory`` a size of the manifest such as 512M, ``stop_timeout`` in seconds. None and "" are unknown."""

    command: str = ""
    count: int | None = None
    cpu: float | None = None
    memory: str = ""
    stop_timeout: int | None = None
    where: Note = Note("")
    """The file and the line of the command."""


@dataclass(frozen=True)
class Machine:
    """A server, with the roles that it had."""

    host: str
    user: str = ""
    port: int | None = None
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Login:
    """How to log in to all servers."""

    user: str = ""
    gateway: str = ""
    port: int | None = None


@dataclass(frozen=True)
class Volume:
    """A directory that outlives releases. ``path`` is relative to the app; no ``types`` are all."""

    name: str
    path: str
    types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Schedule:
    """A command with a cron expression."""

    name: str
    cron: str
    command: str
    where: Note = Note("")


@dataclass(frozen=True)
class Secret:
    """A variable whose value must not be in the manifest. ``file`` is the file that holds it; without one, it is
    ``from_env``."""

    file: str = ""


@dataclass(frozen=True)
class Found:
    """What one source says, or several merged."""

    name: str = ""
    gems: Mapping[str, str] = field(default_factory=dict)
    """The gems that production has, with the locked version or ""."""
    locked: bool = False
    """Whether a lock file lists the gems."""
    ruby: str = ""
    """The version requirement."""
    server: str = ""
    """The app server that a file names, also one that is not supported."""
    options: Mapping[str, Setting] = field(default_factory=dict)
    processes: Mapping[str, Process] = field(default_factory=dict)
    release: str = ""
    build: tuple[str, ...] = ()
    """Build commands besides those that install the bundle and compile assets."""
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    health: str = ""
    """The path of the health check."""
    machines: tuple[Machine, ...] = ()
    login: Login = Login()
    hosts: tuple[str, ...] = ()
    """The host names of the router."""
    routed: bool = False
    """Whether the platform had a router in front of the app."""
    timeout: int | None = None
    """Seconds that the app has to start a response."""
    tls: bool = False
    """Whether the router obtained certificates."""
    volumes: tuple[Volume, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    packages: tuple[str, ...] = ()
    keep: int | None = None
    max_parallel: int | str | None = None
    deadline: int | None = None
    """Seconds that a dyno has to become healthy."""
    notes: tuple[Note, ...] = ()


class Source(Protocol):
    """The reader of a format. A new source is a module with such an object, and a line in the registry."""

    @property
    def name(self) -> str:
        """The name for ``init --from``, and in notes."""
        ...

    @property
    def files(self) -> Sequence[str]:
        """The files that it reads. With a ``*``, all files that match; with a slash at the end, a directory, of which
        only the existence is looked at. The first one is the file whose presence says that the source applies."""
        ...

    @property
    def platform(self) -> bool:
        """Whether it says where and how the app is deployed: of several platforms, one is read."""
        ...

    def read(self, files: Mapping[str, str]) -> Found:
        """What the files say: text by name, without those that do not exist. Never raises: what cannot be read is a
        note."""
        ...


def merged(parts: Iterable[Found]) -> Found:
    """All parts as one. Of one value, the first part that has it counts; mappings and lists of named things are joined,
    and so are notes."""
    whole = Found()
    for part in parts:
        values: dict[str, object] = {}
        for one in fields(Found):
            mine, other = getattr(whole, one.name), getattr(part, one.name)
            if one.name == "processes":
                values[one.name] = _processes(mine, other)
            elif one.name in ("notes", "packages", "build"):
                values[one.name] = (*mine, *(entry for entry in other if entry not in mine))
            elif one.name in ("volumes", "schedules"):
                known = {entry.name for entry in mine}
                values[one.name] = (*mine, *(entry for entry in other if entry.name not in known))
            elif isinstance(mine, Mapping):
                values[one.name] = {**mine, **{key: value for key, value in other.items() if key not in mine}}
            else:
                values[one.name] = other if mine in (None, "", (), False, Login()) else mine
        whole = replace(whole, **values)  # type: ignore[arg-type]  # fields of Found by their names
    return whole


def _processes(mine: Mapping[str, Process], other: Mapping[str, Process]) -> dict[str, Process]:
    joined = dict(mine)
    for name, process in other.items():
        known = joined.get(name)
        if known is None:
            joined[name] = process
            continue
        values = {
            one.name: getattr(process, one.name)
            for one in fields(Process)
            if getattr(known, one.name) in (None, "", Note(""))
        }
        joined[name] = replace(known, **values)
    return joined


_SECRET = re.compile(
    r"SECRET|PASSW|PASSPHRASE|TOKEN|(?:^|_)KEYS?(?:_|$)|APIKEY|CREDENTIAL|PRIVATE|DSN|AUTH|SALT|WEBHOOK|LICENSE"
    r"|(?:^|_)PASS(?:_|$)|(?:^|_)PWD(?:_|$)",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"//[^/@\s]+@")
_RANDOM = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9+/_=-]{20,}")
_ASSIGNED = re.compile(r"(?:^|[\s;&|\"'])([A-Za-z_]\w{0,80})=[\"']?([^\s$\"'][^\s\"']*)")


def secret(name: str, value: str) -> bool:
    """Whether a variable that is written in the clear is better not in a manifest: its name says so, its value is a URL
    with a login, or it looks random."""
    return bool(_SECRET.search(name) or _LOGIN.search(value) or _RANDOM.fullmatch(value))


def holds_secret(command: str) -> bool:
    """Whether a command line holds a URL with a login, or sets a variable that is a secret."""
    assigned = _ASSIGNED.findall(command[:10_000])
    return bool(_LOGIN.search(command) or any(secret(name, value) for name, value in assigned))


def size(text: object) -> str:
    """A size such as 512m, "1gb" or 2048 (MB) as a size of the manifest; "" if it is none."""
    match = re.fullmatch(r"(\d{1,7})\s*(m|mb|mi|mib|g|gb|gi|gib)?", str(text).strip().lower())
    if match is None or int(match[1]) == 0:
        return ""
    number = int(match[1])
    if (match[2] or "m").startswith("g"):
        return f"{number}G"
    return f"{number // 1024}G" if number % 1024 == 0 else f"{number}M"


def seconds(value: object) -> int | None:
    """A time such as 30, "30s", "5m" or "1m30s" in whole seconds, at least 1; None if it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return max(1, round(value)) if 0 <= value < 10**6 else None
    match = re.fullmatch(r"(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s?)?(?:\d+ms)?", str(value).strip())
    if match is None or not any(match.groups()):
        return None
    return max(1, int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + int(match[3] or 0))
