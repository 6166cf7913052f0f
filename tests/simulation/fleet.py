"""The simulated fleet: servers, the sessions and shells that the engine gets, and faults at chosen exchanges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infra.errors import Unreachable
from infra.model.target import Target
from tests.simulation.clock import SimClock
from tests.simulation.faults import KILLS, Fault, Killed, Kind
from tests.simulation.moments import Moments
from tests.simulation.server import Release, SimServer
from tests.simulation.session import SimSession, SimShell

LATENCY = 0.01
"""Seconds that one exchange takes."""

Watcher = Callable[[str, SimServer, str], None]


@dataclass
class Strike:
    """A fault of the ``nth`` exchange, from when it is set, whose subject begins with ``subject``."""

    fault: Fault
    subject: str
    host: str = ""
    nth: int = 1


class SimFleet:
    """All servers by address; those behind one host as ``host:port``. ``faults`` are by the number of an exchange, counted over the whole life of the fleet;
    ``events`` happen right before one. ``watch`` hears of every dyno that starts or stops, as (what, server, unit)."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.servers: dict[str, SimServer] = {}
        self.timed: list[SimServer] = []
        """The servers that ever had a schedule: time passes on all, and only these have something to do then."""
        self.faults: dict[int, Fault] = {}
        self.strikes: list[Strike] = []
        self.events: dict[int, Callable[[], None]] = {}
        self.count = 0
        self.trace: list[tuple[int, str, str]] = []
        self.watch: list[Watcher] = []
        self.moments = Moments()
        self.runs = 0
        """How many one-off dynos were started with ``dynoctl run``."""
        self.dead = False
        """Whether the controller was killed: what is left of it may only let go."""
        self.bad: set[str] = set()
        """Slugs, or words in a config file, that make a dyno not answer; with ``@HOST`` behind them, on one server."""
        self.crashing: set[str] = set()
        """As ``bad``, but candidates answer."""
        self.late: set[str] = set()
        """Slugs that answer at first, and no more when they are asked again."""
        self.bad_commands: set[str] = set()
        """Slugs whose release command fails."""
        self.release_seconds = 5.0
        self.uninstallable: set[str] = set()
        self.hollow: set[str] = set()
        """Packages that bring nothing of what they should."""
        self.sections: dict[str, Callable[[SimServer, Mapping[str, str]], str]] = {}
        """By a fragment's script: what prints it. The simulated providers add theirs."""
        self.passwords: dict[str, str] = {}
        self._numbers = 0

    def add(self, host: str, *, cores: int = 4) -> SimServer:
        """A new machine at an address."""
        self._numbers += 1
        server = SimServer(self, host, f"{self._numbers:02}machine", f"10.0.0.{self._numbers}", cores)
        self.servers[host] = server
        return server

    def rebuild(self, host: str, *, same: bool = False) -> SimServer:
        """An empty machine in the place of one: with a machine-id of its own unless it is the ``same`` one."""
        server = self.servers[host]
        server.wipe()
        if not same:
            self._numbers += 1
            server.machine_id = f"{self._numbers:02}machine"
        return server

    def at(self, address: str) -> SimServer | None:
        """The server whose dynos listen on an address."""
        every = self.servers.values()
        return next((server for server in every if address in (server.address, *server.others.values())), None)

    def move(self, host: str, to: str) -> None:
        """A server gets another address."""
        server = self.servers.pop(host)
        server.host = to
        self._numbers += 1
        server.address = f"10.0.0.{self._numbers}"
        server.version += 1
        server.boot += 1
        server.locks.clear()
        self.servers[to] = server

    # What a release does.

    def answers(self, release: Release, server: SimServer, *, candidate: bool = False) -> bool:
        words, bad = [release.slug, *release.config.split()], self.bad if candidate else self.bad | self.crashing
        return not any(word in bad or f"{word}@{server.machine_id}" in bad for word in words)

    def migrates(self, release: Release) -> bool:
        return release.slug not in self.bad_commands

    def tell(self, what: str, server: SimServer, unit: str) -> None:
        for watcher in self.watch:
            watcher(what, server, unit)

    # Exchanges.

    def exchange(self, server: SimServer | None, subject: str) -> Fault | None:
        """Count one exchange; the fault that it meets. A controller that is killed before it raises Killed."""
        if self.dead:
            raise Killed
        self.count += 1
        self.clock.seconds += LATENCY
        for other in self.timed:
            other.tick()
        self.trace.append((self.count, server.host if server else "", subject))
        event = self.events.pop(self.count, None)
        if event is not None:
            event()
        fault = self.faults.get(self.count) or self._struck(server, subject)
        if fault is not None and fault.kind is Kind.KILL_BEFORE:
            self.kill()
        if fault is not None and fault.kind is Kind.FILL:
            if server is not None:
                server.full = True
            return None
        if fault is not None and fault.kind is Kind.CUT and server is not None:
            server.connected = False
        return fault

    def _struck(self, server: SimServer | None, subject: str) -> Fault | None:
        for strike in self.strikes:
            if subject.startswith(strike.subject) and (not strike.host or (server and server.host == strike.host)):
                strike.nth -= 1
                if strike.nth == 0:
                    self.strikes.remove(strike)
                    return strike.fault
        return None

    def kill(self) -> None:
        """End the controller here and now."""
        self.dead = True
        raise Killed

    def restart_controller(self) -> None:
        """A new process: the sessions of the old one are gone, and so are its locks."""
        self.dead = False
        for server in self.servers.values():
            for app, holder in list(server.locks.items()):
                if isinstance(holder, SimShell):
                    del server.locks[app]

    def connect(self, target: Target) -> SimSession:
        """Implements ``infra.model.shell.Connect``."""
        host = target.host if target.port is None else f"{target.host}:{target.port}"
        server = self.servers.get(host) or next((one for one in self.servers.values() if host in one.others), None)
        fault = self.exchange(server, "connect")
        if server is None or not server.up:
            raise Unreachable(f"cannot connect to {target.name} ({target.host}): timed out", silent=True)
        if server.refuses:
            raise Unreachable(f"cannot connect to {target.name} ({target.host}): {server.refuses}")
        if fault is not None:
            self.strike(server, fault, target.name)
        return SimSession(self, server, target.name, server.others.get(host, server.address))

    def strike(self, server: SimServer, fault: Fault, name: str) -> None:
        """A fault of an exchange that changes nothing on the server: its answer does not come."""
        if fault.kind is Kind.FULL:
            return
        if fault.kind in (Kind.REBOOT, Kind.OFF):
            server.shut_down()
            if fault.kind is Kind.REBOOT:
                server.boot_up()
        if fault.kind in KILLS:
            self.kill()
        raise Unreachable(f"{name}: the connection broke")
