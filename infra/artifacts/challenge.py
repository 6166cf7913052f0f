"""How a registry says what it takes as a login: the WWW-Authenticate header (RFC 9110, 11.6.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST = 4096

_WORD = re.compile(r'\s*,?\s*([A-Za-z_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True)
class Challenge:
    """``bearer``: a token from the URL ``realm``, for ``service``. Otherwise a user and a password."""

    bearer: bool
    realm: str = ""
    service: str = ""


def parse(header: str) -> Challenge | None:
    """The challenge; None if it is one of another kind."""
    header = header[:LONGEST]
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() == "basic":
        return Challenge(bearer=False)
    if scheme.lower() != "bearer":
        return None
    values: dict[str, str] = {}
    at = 0
    while (found := _WORD.match(rest, at)) is not None:
        values[found[1].lower()] = re.sub(r"\\(.)", r"\1", found[2]) if found[2] is not None else found[3]
        at = found.end()
    realm = values.get("realm", "")
    return Challenge(bearer=True, realm=realm, service=values.get("service", "")) if realm else None
