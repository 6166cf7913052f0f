"""How to connect to each server: those in the manifest, and those that left it and may still run dynos."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from infra.fleet.facts import Facts, newest_meta
from infra.fleet.identity import NONE, Connections, identify
from infra.fleet.witnesses import is_proven
from infra.manifest.model import Manifest
from infra.model.target import Target

_HOST = re.compile(r"[0-9A-Za-z:_][0-9A-Za-z_.:%-]{0,254}")
"""A host of a record. It may be part of a command line, as ``%h`` of a ProxyCommand in the user's ssh_config."""
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
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


def departed_targets(manifest: Manifest, found: Mapping[str, Facts], hinted: Connections = NONE) -> dict[str, Target]:
    """By machine-id, the recorded servers that may still run dynos and are at an address that the manifest does not
    have: they left it, or its address of them is wrong. ``hinted`` are further machines. Some must not be logged in
    to."""
    return _departed(manifest, found, {**hinted, **newest_meta(found.values()).get("servers", {})}, hinted)


def leaving_targets(
    manifest: Manifest,
    found: Mapping[str, Facts],
    hinted: Connections = NONE,
    history: Connections = NONE,
    trust: Collection[str] = (),
) -> dict[str, Target]:
    """Those of them that may be logged in to, by ``infra.fleet.witnesses``. ``history`` are the machines to which this
    computer applied the app, ``trust`` the names of servers that the user believes."""
    known = {**hinted, **newest_meta(found.values()).get("servers", {})}
    return {
        machine: target
        for machine, target in departed_targets(manifest, found, hinted).items()
        if is_proven(machine, known[machine], found, {**history, **hinted}, trust)
    }


def spare_targets(
    manifest: Manifest, found: Mapping[str, Facts], history: Connections = NONE, trust: Collection[str] = ()
) -> dict[str, Target]:
    """By machine-id, the same for servers with nothing but records of the app."""
    spares = newest_meta(found.values()).get("spares", {})
    proven = {machine: way for machine, way in spares.items() if is_proven(machine, way, found, history, trust)}
    return _departed(manifest, found, proven)


def _departed(
    manifest: Manifest, found: Mapping[str, Facts], connections: Connections, hinted: Connections = NONE
) -> dict[str, Target]:
    ssh = manifest.ssh
    known = identify(manifest, found, hinted)
    machines = {facts.machine_id for facts in found.values()} | (known.servers.keys() - known.displaced)
    names = {server.name for server in manifest.servers}
    departed: dict[str, Target] = {}
    for machine, connection in connections.items():
        host, user = connection.get("host", ""), connection.get("user", "")
        if machine in machines or not _HOST.fullmatch(host) or not (user == "" or _USER.fullmatch(user)):
            continue
        # The name comes from the records of another server and is shown, so it must be a valid name.
        name = connection.get("name", "") if _NAME.fullmatch(connection.get("name", "")) else machine[:8]
        name = next(one for one in (name, f"{name}-{machine[:8]}", f"{name}-{machine}") if one not in names)
        names.add(name)
        port = connection.get("port", "")
        departed[machine] = Target(
            name=name,
            host=host,
            user=user or ssh.user,
            port=int(port) if port.isdecimal() else None,
            key=ssh.key,
            known_hosts=ssh.known_hosts,
            # A gateway is never taken from a record: what a server says does not choose the way to others.
            gateway=ssh.gateway,
            connect_timeout=ssh.connect_timeout,
        )
    return departed
