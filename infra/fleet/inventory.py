"""How to connect to each server: those in the manifest, and those that left it and may still run dynos."""

from __future__ import annotations

import re
from collections.abc import Mapping

from infra.fleet.facts import Facts, newest_meta
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


def leaving_targets(manifest: Manifest, found: Mapping[str, Facts]) -> dict[str, Target]:
    """By machine-id, the targets of recorded servers that left the manifest: they may still run dynos of the app."""
    return _departed(manifest, found, "servers")


def spare_targets(manifest: Manifest, found: Mapping[str, Facts]) -> dict[str, Target]:
    """By machine-id, the targets of servers that left the manifest with nothing but records of the app."""
    return _departed(manifest, found, "spares")


def _departed(manifest: Manifest, found: Mapping[str, Facts], section: str) -> dict[str, Target]:
    ssh = manifest.ssh
    machines = {facts.machine_id for facts in found.values()}
    hosts = {server.host for server in manifest.servers}
    names = {server.name for server in manifest.servers}
    departed: dict[str, Target] = {}
    for machine, connection in newest_meta(found.values()).get(section, {}).items():
        if machine in machines or connection.get("host") in hosts:
            continue
        # The name comes from the records of another server and is shown, so it must be a valid name.
        name = connection.get("name", "") if _NAME.fullmatch(connection.get("name", "")) else machine[:8]
        port = connection.get("port", "")
        departed[machine] = Target(
            name=name if name not in names else f"{name}-{machine[:8]}",
            host=connection.get("host", ""),
            user=connection.get("user") or ssh.user,
            port=int(port) if port.isdigit() else None,
            key=ssh.key,
            known_hosts=ssh.known_hosts,
            gateway=ssh.gateway,
            connect_timeout=ssh.connect_timeout,
        )
    return departed
