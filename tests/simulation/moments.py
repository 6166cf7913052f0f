"""The times of schedules: when one comes, and that each is served once, wherever its schedule goes meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.server import SimServer

DAY = 86400
DAILY = "at 3"
SHORT = "every 10"
CALENDARS: Mapping[str, tuple[int, int]] = {DAILY: (DAY, 3 * 3600), SHORT: (10, 0)}
"""By calendar: its period and the first of its times, in seconds."""


def following(calendar: str, time: float) -> float:
    """The first time of a calendar after ``time``."""
    return latest(calendar, time) + CALENDARS[calendar][0]


def latest(calendar: str, time: float) -> float:
    """The last time of a calendar up to ``time``."""
    period, first = CALENDARS[calendar]
    return (time - first) // period * period + first


@dataclass
class Served:
    """The last time of a schedule that was served, on which server, and by which calendar."""

    server: SimServer
    moment: float
    calendar: str


class Moments:
    """Hears of every run of a schedule and of every start of a timer. A time is not served twice, and one that a server
    knew is not lost: a timer starts from now only if no server that could be asked had the schedule before."""

    def __init__(self) -> None:
        self.served: dict[str, Served] = {}
        self.reached: set[str] | None = None
        """The machines that the command at work could ask; None is all of them."""

    def ran(self, server: SimServer, unit: str, first: float, last: float) -> None:
        """A timer elapsed: for all times from ``first`` to ``last``."""
        known, calendar = self.served.get(unit), _calendar(server, unit)
        others = [one for one in server.fleet.servers.values() if one is not server and unit in one.timers]
        if known is not None and known.calendar == calendar and not others:
            assert first > known.moment, (
                f"{unit} on {server.host} serves {first:.0f} again, after {known.moment:.0f} on {known.server.host}"
            )
        self.served[unit] = Served(server, last, calendar)

    def begun(self, server: SimServer, unit: str, *, anew: bool) -> None:
        """A timer starts: ``anew`` from now, otherwise from its stamp."""
        known, calendar = self.served.get(unit), _calendar(server, unit)
        asked = known is not None and known.server.up
        asked = asked and (self.reached is None or known is None or known.server.machine_id in self.reached)
        if anew and known is not None and known.calendar == calendar and asked:
            lost = following(calendar, known.moment)
            assert lost > server.time, f"{unit} on {server.host} loses {lost:.0f}: it was last on {known.server.host}"
        if anew or known is None:
            self.served[unit] = Served(server, server.time, calendar)
        else:
            known.server = server

    def ended(self, server: SimServer, unit: str) -> None:
        """A schedule was removed from a server: if it was not elsewhere by then, its times are over."""
        known = self.served.get(unit)
        if known is not None and known.server is server:
            del self.served[unit]

    def wiped(self, server: SimServer) -> None:
        """What a server knew is gone."""
        self.served = {unit: known for unit, known in self.served.items() if known.server is not server}


def _calendar(server: SimServer, unit: str) -> str:
    return (server.unit(unit) or {}).get("calendar", "")
