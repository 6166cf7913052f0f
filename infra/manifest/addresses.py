"""The parts of an address that was written as one text: a URL, ``user@host:port``, or an IPv6 address in brackets."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

_ADDRESS = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://)?(?:([A-Za-z_][\w.-]*)@)?(?:\[([0-9A-Fa-f:.]+)\]|([^@:/\s\[\],]+))(?::([0-9]{1,5}))?(?:/\S*)?"
)
_NUMBERS = re.compile(r"[0-9]+(\.[0-9]+)+\.?")


@dataclass(frozen=True)
class Address:
    """The parts of a text; those that it does not have are ""."""

    user: str
    host: str
    port: str


def parts(text: str) -> Address | None:
    """The parts of an address, or None if the text is none."""
    found = _ADDRESS.fullmatch(text)
    return None if found is None else Address(found[1] or "", found[2] or found[3], found[4] or "")


_OWN_KEYS = ("servers", "database", "databases", "cache", "caches")
"""Sections in which user, host and port are keys."""


def hint(path: tuple[str | int, ...], text: str, pattern: str = "") -> str:
    """What to write for a text that is no valid ``host``, ``user`` or ``gateway``, or ""."""
    found, key = parts(text), path[-1]
    if found is None or not re.search(pattern, found.user if key == "user" else found.host):
        return ""
    if found.port:
        found = replace(found, port=found.port.lstrip("0") if is_port(found.port) else "PORT (1 to 65535)")
    if key == "gateway":
        return f"use {f'{found.user}@' if found.user else ''}{found.host}{f':{found.port}' if found.port else ''}"
    if key == "user" or path[0] not in _OWN_KEYS or not (found.user or found.port):
        return f"use {found.user if key == 'user' else found.host}"
    written = [f"{name}: {value}" for name, value in vars(found).items() if value]
    return f"write each in a key of its own: {', '.join(written)}"


def is_port(text: str) -> bool:
    """Whether a number is that of a TCP port."""
    return 0 < int(text) < 65536


def is_no_ipv4(text: str) -> bool:
    """Whether a host is of numbers and dots, and no IPv4 address: programs take ``10.1`` for 10.0.0.1. A number without
    a dot may be a Host of ssh_config."""
    if not _NUMBERS.fullmatch(text):
        return False
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return True
    return False
