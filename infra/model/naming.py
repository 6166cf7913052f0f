"""Names and ownership markers: managed resources are identified by exact markers, never by the prefix of a name."""

from __future__ import annotations

import re
from dataclasses import dataclass

APP = "X-Dynoctl-App"
DYNO = "X-Dynoctl-Dyno"
LISTEN = "X-Dynoctl-Listen"
PORT = "X-Dynoctl-Port"
CPU = "X-Dynoctl-Cpu"
IDLE = "X-Dynoctl-Idle"
"""Seconds after which a dyno without requests stops; absent for dynos that run permanently."""
TMP = "X-Dynoctl-Tmp"
"""The size of a dyno's /tmp in bytes. A one-off dyno that is like it has one of its own."""
SCHEDULE = "X-Dynoctl-Schedule"
"""The schedule of a unit; absent for dynos that run permanently."""

DYNO_NAME = re.compile(r"^[a-z][a-z0-9]*\.[1-9][0-9]{0,8}\Z")
UNIT_NAME = re.compile(
    r"^dyno-(?P<app>[a-z][a-z0-9]*(?:-[a-z0-9]+)*)-(?P<type>[a-z][a-z0-9]*)-(?P<number>[1-9][0-9]{0,8})\Z"
)

MARK_LINE = re.compile(r"^(?P<file>/[^:]+):(?P<key>X-Dynoctl-[A-Za-z]+)=(?P<value>.*)$")
"""A line that grep prints of an ownership marker in the unit files of a server."""

IDLES = 20
"""How many dynos of other apps that may be idle take the place of one that runs permanently: a hundred previews, with
the default quota of a quarter of a core, leave room on two cores."""


@dataclass(frozen=True)
class Mark:
    """The ownership marker in the unit of a dyno. ``cpu`` is the CPU quota in thousandths of a core."""

    app: str
    dyno: str
    port: int
    cpu: int
    idles: bool = False
    """Whether the dyno stops while nobody uses it."""

    @property
    def reserved(self) -> int:
        """What the dyno takes of the capacity that it shares with other apps."""
        return reserved(self.cpu, idles=self.idles)


def reserved(cpu: int, *, idles: bool) -> int:
    """What a dyno with this quota takes of the capacity of a server."""
    return -(-cpu // IDLES) if idles else cpu


def user_name(app: str, dyno: str) -> str:
    """The name of a dyno's unix user and unit: ``dyno-shop-web-1`` for ``web.1`` of ``shop``."""
    type_, _, number = dyno.partition(".")
    return f"dyno-{app}-{type_}-{number}"


def log_namespace(app: str) -> str:
    """The namespace of the app's journal: ``journalctl --namespace=dyno-shop``."""
    return f"dyno-{app}"


def gecos(app: str, dyno: str) -> str:
    """The GECOS field that marks a unix user as managed."""
    return f"dynoctl {app} {dyno}"


def from_gecos(text: str) -> tuple[str, str] | None:
    """The app and the dyno in the GECOS field of a unix user; None if the user is not managed."""
    parts = text.split(" ")
    return (parts[1], parts[2]) if len(parts) == 3 and parts[0] == "dynoctl" else None


def parse_dyno(name: str) -> tuple[str, int]:
    """Parse ``web.12`` into ("web", 12). Raises ValueError if it is not the name of a dyno."""
    type_, _, number = name.partition(".")
    return type_, int(number)


def dyno_order(name: str) -> tuple[str, int]:
    """A sort key: by process type, then by number."""
    return parse_dyno(name)


def escape(text: str) -> str:
    """Escape one component of a path or slice as systemd does: a dash becomes ``\\x2d``, as it would nest slices."""
    return "".join(c if c.isalnum() or c in ":_." else f"\\x{ord(c):02x}" for c in text)
