"""Which records may be used on other servers than the one that has them: those that a second party confirms.

Servers keep the releases and the settings of an app, and root on one of them can write there what it likes. So a
record is used on its own server only, unless a second party confirms it:

- two servers have the same record: the one that lies does not have the other; or
- this computer applied it: it remembers digests of what it applied, in the user's state directory; or
- the user trusts a server by name (``--trust``).

A signature would need a key that all operators and CI share and no server has. The secrets of the manifest are on
every server, and the key of one operator says nothing to the next one. So a key would have to be made, handed out and
replaced, for a tool that keeps no state. Two servers that agree need none of that. It does not protect against an
attacker who has two servers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.fleet.facts import Facts
from infra.model.release import Release

ENOUGH = 2
"""Servers that agree on a record."""


@dataclass(frozen=True)
class Known:
    """What this computer knows by itself: digests of the releases and of the settings that it applied."""

    releases: frozenset[str] = frozenset()
    settings: frozenset[str] = frozenset()


NOTHING = Known()


@dataclass(frozen=True)
class Vouched:
    """A record that is to be used: ``what`` it is, and the ``servers`` that have it. ``proven``: this computer or the
    user vouches for it."""

    what: str
    servers: frozenset[str]
    proven: bool = False

    @property
    def enough(self) -> bool:
        """Whether it may be used on servers that do not have it."""
        return self.proven or len(self.servers) >= ENOUGH

    def refused(self, servers: Iterable[str]) -> list[str]:
        """Those of the servers on which it must not be used. What runs as its own records say harms no other server."""
        return [] if self.enough else sorted(set(servers) - self.servers)

    def problem(self, refused: Collection[str]) -> str:
        """The error for these servers."""
        return (
            f"{self.what} is known from {', '.join(sorted(self.servers)) or 'no server'} alone, and would run on "
            f"{', '.join(sorted(refused))}, which has no record of it, or another one: it may be forged"
        )


def seal(release: Release) -> str:
    """A digest of a release's number and of what it runs, as its record says it: with another number, an old release
    would be the newest one."""
    return _sha256("release", str(release.number), release.salt, release.digest, release.sealed)


def seal_settings(settings: object) -> str:
    """A digest of the settings in a record of the formation."""
    return _sha256("settings", json.dumps(settings, sort_keys=True))


def vouchers(release: Release, records: Mapping[str, Iterable[Release]]) -> frozenset[str]:
    """The servers with the same record of a release; ``records`` are the releases by server."""
    return frozenset(
        server for server, known in records.items() if any(other.identity == release.identity for other in known)
    )


def agreeing(settings: object, metas: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """The servers with the same settings; ``metas`` are the records of the formation by server."""
    return frozenset(server for server, meta in metas.items() if meta.get("config") == settings)


def copied(release: Release, records: Mapping[str, Iterable[Release]], known: Known) -> bool:
    """Whether a record may be copied to a server that lacks it. A lie that is copied would have two servers."""
    return len(vouchers(release, records)) >= ENOUGH or seal(release) in known.releases


def kept_settings(last: Mapping[str, Any], facts: Mapping[str, Facts], known: Known) -> Mapping[str, Any] | None:
    """The settings of the last apply, to be written to all servers. What only one of several says is not copied."""
    settings: Mapping[str, Any] | None = last.get("config")
    metas = {name: server.meta for name, server in facts.items() if server.meta}
    sure = len(metas) < ENOUGH or len(agreeing(settings, metas)) >= ENOUGH
    return settings if sure or seal_settings(settings) in known.settings else None


def _sha256(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
