"""Which server of the manifest a recorded machine is. A machine-id decides; until that is known, an address does."""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from infra.fleet.facts import Facts, newest_meta
from infra.manifest.model import Manifest, Server

SSH_PORT = 22

Connections = Mapping[str, Mapping[str, str]]
"""How machines were reached, by machine-id: name, host, user, port and gateway."""

NONE: Connections = MappingProxyType({})

Address = tuple[str, int, str]
"""Host, port and gateway: servers behind one forwarding host differ only in their port, others only in the gateway."""


@dataclass(frozen=True)
class Identities:
    """What the newest record says about machines that are not reached, by machine-id.

    ``servers`` are the names of the manifest's servers that they are, or whose address they had. ``replaced`` are those
    among them at whose address another machine answers. ``displaced`` are those that another address than the recorded
    one was written for, which does not answer. ``unknown`` are the names of unreachable servers without any machine.
    ``renamed`` are machines whose name another one has now that answers, at an address that is not theirs."""

    servers: Mapping[str, str]
    replaced: frozenset[str]
    displaced: frozenset[str]
    unknown: frozenset[str]
    renamed: frozenset[str]

    def may_be_of(self, machine: str) -> str | None:
        """The unreachable server of the manifest that a machine may be which answers at another address. If names
        were given to other machines, a name does not tell which one the server is."""
        if machine in self.displaced:
            return self.servers[machine]
        names = self.unknown | {self.servers[other] for other in self.displaced if machine in self.renamed}
        return min(names, default=None)


@lru_cache(maxsize=10_000)
def address(host: str, port: int | None, gateway: str | None) -> Address:
    """The address of a server, in the form in which equal ones compare as equal."""
    try:
        host = ipaddress.ip_address(host).compressed
    except ValueError:
        host = host.lower().removesuffix(".")
    return (host, port or SSH_PORT, gateway or "")


def address_of(manifest: Manifest, server: Server) -> Address:
    """The address of a server in the manifest."""
    return address(server.host, server.port, manifest.ssh.gateway)


def recorded_address(connection: Mapping[str, str], manifest: Manifest) -> Address:
    """The address of a recorded connection. dynoctl 0.1 recorded no gateway: that of the manifest is assumed."""
    port = connection.get("port", "")
    gateway = connection.get("gateway", manifest.ssh.gateway)
    return address(connection.get("host", ""), int(port) if port.isdecimal() else None, gateway)


def recorded_connections(meta: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
    """The connection of each recorded machine, whether it has dynos or not."""
    return {**meta.get("spares", {}), **meta.get("servers", {})}


def recorded_connection(meta: Mapping[str, Any], machine: str) -> Mapping[str, str] | None:
    """That of one machine; None if there is none."""
    found: Mapping[str, str] | None = meta.get("servers", {}).get(machine) or meta.get("spares", {}).get(machine)
    return found


def identify(manifest: Manifest, found: Mapping[str, Facts], hinted: Connections = NONE) -> Identities:
    """Match the recorded machines that were not ``found`` (by name) with the servers of the manifest: those with the
    recorded address, or else the unreachable ones with the recorded name. ``hinted`` are further machines."""
    meta = newest_meta(found.values())
    reached = {facts.machine_id for facts in found.values()}
    every = {**hinted, **recorded_connections(meta)}
    connections = {machine: way for machine, way in every.items() if machine not in reached}
    names = {address_of(manifest, server): server.name for server in manifest.servers}
    servers = {
        machine: names[at] for machine, way in connections.items() if (at := recorded_address(way, manifest)) in names
    }
    unreached = {server.name for server in manifest.servers} - found.keys()
    unmatched = unreached - set(servers.values())
    displaced = {
        machine: way.get("name", "")
        for machine, way in connections.items()
        if machine not in servers and way.get("name") in unmatched
    }
    return Identities(
        servers={**servers, **displaced},
        replaced=frozenset(machine for machine, name in servers.items() if name in found),
        displaced=frozenset(displaced),
        unknown=frozenset(unmatched - set(displaced.values())),
        renamed=frozenset(
            machine for machine, way in connections.items() if machine not in servers and way.get("name") in found
        ),
    )


def machine_of(name: str, identities: Identities, carrying: Container[str]) -> str | None:
    """The machine that an unreachable server is by the records. If several had its address one after the other, it is
    the one that carries dynos."""
    machines = [machine for machine, server in identities.servers.items() if server == name]
    return next((machine for machine in machines if machine in carrying), machines[0] if machines else None)
