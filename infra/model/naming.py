"""How what is ours on a server is told from what is not: exact marks, never a name's prefix."""

from __future__ import annotations

import re
from dataclasses import dataclass

APP = "X-Dynoctl-App"
DYNO = "X-Dynoctl-Dyno"
LISTEN = "X-Dynoctl-Listen"
PORT = "X-Dynoctl-Port"
CPU = "X-Dynoctl-Cpu"
SCHEDULE = "X-Dynoctl-Schedule"
"""When it runs, where it is no dyno that runs all the time."""

DYNO_NAME = re.compile(r"^[a-z][a-z0-9]*\.[1-9]\d*$")
UNIT_NAME = re.compile(r"^dyno-(?P<app>[a-z][a-z0-9]*(?:-[a-z0-9]+)*)-(?P<type>[a-z][a-z0-9]*)-(?P<number>[1-9]\d*)$")


@dataclass(frozen=True)
class Mark:
    """One dyno's mark in its unit: the app, the dyno, its port, and its CPU share in thousandths of a core."""

    app: str
    dyno: str
    port: int
    cpu: int


def user_name(app: str, dyno: str) -> str:
    """The POSIX user (and unit) of a dyno: ``dyno-shop-web-1`` for ``web.1`` of ``shop``."""
    type_, _, number = dyno.partition(".")
    return f"dyno-{app}-{type_}-{number}"


def gecos(app: str, dyno: str) -> str:
    """The GECOS field that marks a user as ours."""
    return f"dynoctl {app} {dyno}"


def from_gecos(text: str) -> tuple[str, str] | None:
    """App and dyno of a user's GECOS field, or None where the user is not ours."""
    words = text.split(" ")
    return (words[1], words[2]) if len(words) == 3 and words[0] == "dynoctl" else None


def parse_dyno(name: str) -> tuple[str, int]:
    """``web.12`` as ("web", 12). Raises ValueError where it is no dyno's name."""
    type_, _, number = name.partition(".")
    return type_, int(number)


def dyno_order(name: str) -> tuple[str, int]:
    """A sort key: by type, then by number and not by its digits."""
    return parse_dyno(name)


def escape(text: str) -> str:
    """systemd's escaping of one path or slice component: a dash becomes ``\\x2d``, or names would nest."""
    return "".join(c if c.isalnum() or c in ":_." else f"\\x{ord(c):02x}" for c in text)
