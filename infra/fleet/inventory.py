"""How to connect to each server: those in the manifest, and those that left it and may still run dynos."""

from __future__ import annotations

import re
from collections.abc import Mapping

from infra.fleet.facts import Facts, newest_meta
from infra.fleet.identity import NONE, Connections, identify
from infra.manifest.model import Manifest
from infra.model.target import Target

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")


def targets(manifest: Manifest) -> list[Target]:
    """The targets of the servers in the manifest."""
    ssh = manifest.ssh
    return [
        Target(
            name=server.name,
            host=server.host,
            user=server.user or ssh.user,
            port=server.port,
            key=ssh.key,
            known_hosts=ssh.known_hosts,
            gateway=ssh.gateway,
            connect_timeout=ssh.connect_timeout,
        )
        for server in manifest.servers
    ]


def leaving_targets(manifest: Manifest, found: Mapping[str, Facts], hinted: Connections = NONE) -> dict[str, Target]:
    """By machine-id, the recorded servers that may still run dynos and are at an address that the manifest does not
    have: they left it, or its address of them is wrong. ``hinted`` are further machines."""
    return _departed(manifest, found, {**hinted, **newest_meta(found.values()).get("servers", {})}, hinted)


def spare_targets(manifest: Manifest, found: Mapping[str, Facts]) -> dict[str, Target]:
    """By machine-id, the same for servers with nothing but records of the app."""
    return _departed(manifest, found, newest_meta(found.values()).get("spares", {}))


def _departed(
    manifest: Manifest, found: Mapping[str, Facts], connections: Connections, hinted: Connections = NONE
) -> dict[str, Target]:
    ssh = manifest.ssh
    known = identify(manifest, found, hinted)
    machines = {facts.machine_id for facts in found.values()} | (known.servers.keys() - known.displaced)
    names = {server.name for server in manifest.servers}
    departed: dict[str, Target] = {}
    for machine, connection in connections.items():
        if machine in machines:
            continue
        # The name comes from the records of another server and is shown, so it must be a valid name.
        name = connection.get("name", "") if _NAME.fullmatch(connection.get("name", "")) else machine[:8]
        name = next(one for one in (name, f"{name}-{machine[:8]}", f"{name}-{machine}") if one not in names)
        names.add(name)
        port = connection.get("port", "")
        departed[machine] = Target(
            name=name,
            host=connection.get("host", ""),
            user=connection.get("user") or ssh.user,
            port=int(port) if port.isdecimal() else None,
            key=ssh.key,
            known_hosts=ssh.known_hosts,
            # A gateway is never taken from a record: what a server says does not choose the way to others.
            gateway=ssh.gateway,
            connect_timeout=ssh.connect_timeout,
        )
    return departed
