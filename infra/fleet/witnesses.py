"""Servers that are known from records of other servers only: who names them, and whether that is enough to log in.

Root on a server can write there that any other server belongs to the app. If that were believed, that server would be
logged in to with the user's key, and the app would be removed from it. So a server is proven if two servers name it, if
the app was applied to it from this computer, or if the user says so. What one server says is copied to others with its
name."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from infra.fleet.facts import Facts
from infra.fleet.identity import NONE, Connections, recorded_connections

FROM = "from"
"""The key of a connection: the machine-id of the only server that names it."""

ENOUGH = 2
"""Servers that name another one."""


def address(way: Mapping[str, str]) -> tuple[str, str, str]:
    """What two connections to one server have in common."""
    return (way.get("host", "").lower(), way.get("port", ""), way.get("user", ""))


def witnesses(machine: str, way: Mapping[str, str], found: Mapping[str, Facts]) -> frozenset[str]:
    """The machine-ids of the servers that name a machine at this address."""
    named = set()
    for facts in found.values():
        said = recorded_connections(facts.meta).get(machine)
        if said is not None and facts.machine_id != machine and address(said) == address(way):
            named.add(said.get(FROM, facts.machine_id))
    return frozenset(named)


def is_proven(
    machine: str,
    way: Mapping[str, str],
    found: Mapping[str, Facts],
    hint: Connections = NONE,
    trust: Collection[str] = (),
) -> bool:
    """Whether a machine may be logged in to at this address. ``hint`` are the machines to which the app was applied
    from here, ``trust`` the names of servers that the user believes."""
    if machine in hint and address(hint[machine]) == address(way):
        return True
    named = witnesses(machine, way, found)
    trusted = {facts.machine_id for name, facts in found.items() if name in trust}
    return len(named) >= ENOUGH or bool(named & trusted)


def names(machine: str, way: Mapping[str, str], found: Mapping[str, Facts]) -> list[str]:
    """The names of the servers that name a machine, or their machine-ids if they are not reached."""
    known = {facts.machine_id: name for name, facts in found.items()}
    return sorted(known.get(witness, witness[:8]) for witness in witnesses(machine, way, found))


def marked(
    connections: Mapping[str, Mapping[str, str]],
    found: Mapping[str, Facts],
    hint: Connections = NONE,
    trust: Collection[str] = (),
) -> dict[str, Mapping[str, str]]:
    """The connections as they are written to all servers: with the only witness of those that are not proven."""
    reached = {facts.machine_id for facts in found.values()}
    made: dict[str, Mapping[str, str]] = {}
    for machine, way in connections.items():
        plain = {key: text for key, text in way.items() if key != FROM}
        alone = witnesses(machine, way, found)
        if machine in reached or is_proven(machine, way, found, hint, trust) or not alone:
            made[machine] = plain
        else:
            made[machine] = {**plain, FROM: min(alone)}
    return made
