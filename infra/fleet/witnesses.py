"""Servers that are known from records of other servers only: who names them, and whether that is enough to log in.

Root on a server can write there that any other server belongs to the app. If that were believed, that server would be
logged in to with the user's key, and the app would be removed from it. So a server is proven if two servers name it, if
the app was applied to it from this computer, or if the user says so. What one server says is copied to others with its
name. A copy is never counted: whoever is the only witness could change its own record, or its machine-id, and so name
a second one."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from infra.fleet.facts import Facts
from infra.fleet.identity import NONE, Connections, recorded_connection

FROM = "from"
"""The key of a connection: the machine-id of the only server that names it."""

ENOUGH = 2
"""Servers that name another one."""


def address(way: Mapping[str, str]) -> tuple[str, str, str]:
    """What two connections to one server have in common."""
    return (way.get("host", "").lower(), way.get("port", ""), way.get("user", ""))


def witnesses(machine: str, way: Mapping[str, str], found: Mapping[str, Facts]) -> frozenset[str]:
    """The machine-ids of the servers that name a machine at this address by themselves; if there are none, those from
    which others say that they have it."""
    said = _said(machine, way, found)
    return frozenset({source for server, source in said if server == source} or {source for _, source in said})


def _said(machine: str, way: Mapping[str, str], found: Mapping[str, Facts]) -> set[tuple[str, str]]:
    """The machine-ids of each server that names a machine, and of the server from which it says that it has it."""
    every = [(facts.machine_id, recorded_connection(facts.meta, machine)) for facts in found.values()]
    return {
        (server, told.get(FROM, server))
        for server, told in every
        if told is not None and server != machine and address(told) == address(way)
    }


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
    named = {server for server, source in _said(machine, way, found) if server == source}
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
