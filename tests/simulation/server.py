"""One simulated server: files, dynos that run, schedules, one-off dynos, locks; no threads and no real time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation import moments
from tests.simulation.clock import START

if TYPE_CHECKING:
    from tests.simulation.fleet import SimFleet

STATE = "/var/lib/dynoctl"
UNITS = "/etc/systemd/system"
ROUTES = "/etc/dynoctl/router/live/apps"


class DiskFull(Exception):
    """A write found no space."""


@dataclass(frozen=True)
class Release:
    """What a process runs: a slug's digest and the text of its config file."""

    slug: str
    config: str


@dataclass
class Process:
    """A dyno that runs."""

    unit: str
    app: str
    dyno: str
    release: Release
    port: int
    since: float
    healthy: bool
    restarts: int = 0


@dataclass
class OneOff:
    """A candidate or a release command. It ends at ``ends``, whoever waits for it; ``mark`` is a file that is then made."""

    name: str
    kind: str
    app: str
    release: Release
    began: float
    ends: float
    mark: str = ""
    well: bool = True
    over: bool = False


@dataclass
class SimServer:
    """The state of one machine. ``boot`` counts its starts: a session belongs to one of them."""

    fleet: SimFleet
    host: str
    machine_id: str
    address: str = "10.0.0.1"
    """Its own address, on which its dynos listen. A forwarded port of another host may lead to it."""
    cores: int = 4
    debian: str = "12"
    ruby: str = "3.1.2"
    """The version of the package, once it is installed."""
    others: dict[str, str] = field(default_factory=dict)
    """Its other addresses, by the host of a manifest that leads to them."""
    files: dict[str, str] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)
    processes: dict[str, Process] = field(default_factory=dict)
    timers: set[str] = field(default_factory=set)
    """Units of schedules that are active."""
    stamps: dict[str, float] = field(default_factory=dict)
    """When each timer elapsed last, by this server's clock; a power cut leaves it."""
    skew: float = 0.0
    """Seconds by which its clock is ahead."""
    loaded: dict[str, str] = field(default_factory=dict)
    """What the router's process routes, by app: the text of the file that it loaded last."""
    enabled: set[str] = field(default_factory=set)
    idle: set[str] = field(default_factory=set)
    """Units of dynos that stopped because nobody uses them."""
    one_offs: dict[str, OneOff] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    outdated: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By package without whose upgrade no other is installed: its version, and the one that it must have."""
    locks: dict[str, object] = field(default_factory=dict)
    """By app: the shell that holds its lock, or the words of a holder outside the simulation."""
    lock_files: set[str] = field(default_factory=set)
    listeners: set[int] = field(default_factory=set)
    """Ports of programs that dynoctl does not know."""
    memory: int = 4 * 2**30
    """Bytes that are available."""
    powered: bool = True
    connected: bool = True
    refuses: str = ""
    """Why nobody can log in, although the server answers."""
    full: bool = False
    boot: int = 1
    version: int = 0
    cache: dict[tuple[str, str, str], tuple[int, str]] = field(default_factory=dict)

    # Files.

    def write(self, path: str, text: str) -> None:
        """Write a file in place. Raises DiskFull, and leaves it empty then."""
        self.version += 1
        if self.full:
            self.files[path] = ""
            raise DiskFull
        self.files[path] = text

    def remove(self, path: str) -> None:
        if self.files.pop(path, None) is not None:
            self.version += 1

    def move(self, source: str, target: str) -> None:
        self.version += 1
        self.files[target] = self.files.pop(source)

    def below(self, directory: str) -> list[str]:
        """The paths of all files below a directory, sorted as a shell's pattern gives them."""
        prefix = f"{directory}/"
        return sorted(path for path in self.files if path.startswith(prefix))

    def remove_tree(self, directory: str) -> None:
        self.version += 1
        for path in self.below(directory):
            del self.files[path]
        self.files.pop(directory, None)
        prefix = f"{directory}/"
        self.directories = {one for one in self.directories if one != directory and not one.startswith(prefix)}

    def put(self, new: str, path: str, text: str) -> Iterator[None]:
        """Write a file whole: as ``new``, then renamed. Raises DiskFull, and leaves nothing then."""
        try:
            self.write(new, text)
        except DiskFull:
            self.remove(new)
            raise
        yield
        self.move(new, path)
        yield

    # Dynos.

    def start(self, unit: str) -> Process | None:
        """Run what the unit's file says; None if it cannot start at all."""
        self.stop(unit)
        settings = self.unit(unit)
        if settings is None or self.slug(settings["app"], settings["slug"]) is None:
            return None
        if int(settings["port"]) in self.listeners:
            return None
        release = self.release(settings)
        healthy = self.fleet.answers(release, self)
        now = self.fleet.clock.seconds
        process = Process(unit, settings["app"], settings["dyno"], release, int(settings["port"]), now, healthy)
        self.processes[unit] = process
        self.version += 1
        self.fleet.tell("started", self, unit)
        return process

    def rest(self, unit: str) -> None:
        """Stop a dyno that nobody uses. No version: for who observes, it is still there."""
        del self.processes[unit]
        self.idle.add(unit)

    def stop(self, unit: str) -> None:
        self.idle.discard(unit)
        process = self.processes.pop(unit, None)
        if process is not None:
            self.version += 1
            self.fleet.tell("stopped", self, unit)

    def unit(self, unit: str) -> dict[str, str] | None:
        """The settings of a dyno's unit file; None if there is none that can be read."""
        text = self.files.get(f"{UNITS}/{unit}.service")
        if not text:
            return None
        return dict(line.split("=", 1) for line in text.splitlines())

    def release(self, settings: dict[str, str]) -> Release:
        """What a dyno runs whose unit has some settings."""
        return Release(settings["slug"], self.files.get(settings["config"], ""))

    def slug(self, app: str, digest: str) -> str | None:
        return self.files.get(f"{STATE}/{app}/slugs/{digest}.squashfs") or None

    # Schedules.

    @property
    def time(self) -> float:
        """Seconds since 1970 by this server's clock."""
        return START + self.fleet.clock.seconds + self.skew

    def schedule(self, unit: str) -> None:
        """Start a timer: it runs at once if it missed a time since its stamp, as systemd does."""
        self.tick()
        calendar = (self.unit(unit) or {}).get("calendar", "")
        self.stamps.setdefault(unit, self.time)
        self.timers.add(unit)
        if not any(one is self for one in self.fleet.timed):
            self.fleet.timed.append(self)
        self.version += 1
        if calendar and moments.following(calendar, self.stamps[unit]) <= self.time:
            self.fire(unit, moments.latest(calendar, self.time))

    def tick(self) -> None:
        """Let every active timer elapse as often as its times have come."""
        for unit in self.timers if self.powered else ():
            calendar = (self.unit(unit) or {}).get("calendar", "")
            if calendar and moments.following(calendar, self.stamps[unit]) <= self.time:
                self.fire(unit, moments.latest(calendar, self.time))

    def fire(self, unit: str, moment: float) -> None:
        first = moments.following((self.unit(unit) or {})["calendar"], self.stamps[unit])
        self.fleet.moments.ran(self, unit, first, moment)
        self.stamps[unit] = moment

    # One-off dynos.

    def run(self, app: str, seconds: float) -> str:
        """Start a one-off dyno like one of the app's dynos, as ``dynoctl run --detach`` does; "" if there is none."""
        like = next((process for process in self.processes.values() if process.app == app), None)
        if like is None or not self.up or not self.slug(app, like.release.slug):
            return ""
        self.fleet.runs += 1
        name, now = f"run-{app}.{self.fleet.runs}", self.fleet.clock.seconds
        self.one_offs[name] = OneOff(name, "run", app, like.release, now, now + seconds)
        self.version += 1
        return name

    def settle(self) -> None:
        """End the one-off dynos whose time has come, and let the timers elapse."""
        self.tick()
        now = self.fleet.clock.seconds
        for name, one_off in list(self.one_offs.items()):
            if one_off.kind == "run" and one_off.ends <= now:
                del self.one_offs[name]  # nothing of it remains
                self.version += 1
        for one_off in self.one_offs.values():
            if not one_off.over and one_off.ends <= now:
                one_off.over = True
                self.version += 1
                if one_off.mark and one_off.well and f"{STATE}/{one_off.app}" in self.directories:
                    self.files[one_off.mark] = ""

    def empty(self, path: str) -> None:
        """A file as a power cut leaves it that was not on the disk yet."""
        self.version += 1
        self.files[path] = ""

    # Life.

    @property
    def up(self) -> bool:
        return self.powered and self.connected

    def shut_down(self) -> None:
        """Lose power: whatever is only in memory is gone."""
        self.tick()
        self.powered = False
        self.boot += 1
        self.version += 1
        for unit in list(self.processes):
            self.stop(unit)
        self.timers.clear()
        self.loaded.clear()
        self.one_offs.clear()
        self.locks.clear()
        self.lock_files.clear()

    def boot_up(self) -> None:
        """Start what is enabled, from what the files say now."""
        self.powered = True
        self.version += 1
        for path in self.below(ROUTES):
            if path.endswith("/mark.json"):
                self.loaded[path.removeprefix(f"{ROUTES}/").partition("/")[0]] = self.files[path]
        for unit in sorted(self.enabled):
            settings = self.unit(unit)
            if settings is None:
                continue
            if "calendar" in settings:
                self.schedule(unit)
            else:
                self.start(unit)

    def wipe(self) -> None:
        """Install the machine anew: nothing of what it held is left."""
        self.shut_down()
        self.files.clear()
        self.directories.clear()
        self.enabled.clear()
        self.stamps.clear()
        self.fleet.moments.wiped(self)
        self.packages.clear()
        self.powered = True


Interpreter = Callable[[SimServer, tuple[str, ...], str], Iterator[None]]
