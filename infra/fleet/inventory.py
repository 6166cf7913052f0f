"""How to log in to each server: those of the manifest, and those that left it and may still carry something."""

from __future__ import annotations

import re
from collections.abc import Mapping

from infra.fleet.facts import Facts, newest_meta
from infra.manifest.model import Manifest
from infra.model.target import Target

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")


def targets(manifest: Manifest) -> list[Target]:
    """How to log in to each server of the manifest."""
    ssh = manifest.ssh
    return [
        Target(
            server.name,
            server.host,
            server.user or ssh.user,
            server.port,
            ssh.key,
            ssh.known_hosts,
            ssh.gateway,
            ssh.connect_timeout,
        )
        for server in manifest.servers
    ]


def leaving_targets(manifest: Manifest, found: Mapping[str, Facts]) -> list[Target]:
    """Servers of the newest record that are not in the manifest: they may still carry dynos of the app."""
    return _departed(manifest, found, "servers")


def spare_targets(manifest: Manifest, found: Mapping[str, Facts]) -> list[Target]:
    """Servers that left the manifest while they carried nothing but the app's records. Nobody waits for one of them."""
    return _departed(manifest, found, "spares")


def _departed(manifest: Manifest, found: Mapping[str, Facts], what: str) -> list[Target]:
    ssh = manifest.ssh
    here = {facts.machine_id for facts in found.values()}
    hosts = {server.host for server in manifest.servers}
    names = {server.name for server in manifest.servers}
    left = []
    for machine, how in newest_meta(found.values()).get(what, {}).items():
        if machine in here or how.get("host") in hosts:
            continue
        # It is what another server remembers, and it is shown: nothing but a name will do.
        name = how.get("name", "") if _NAME.fullmatch(how.get("name", "")) else machine[:8]
        port = how.get("port", "")
        left.append(
            Target(
                name if name not in names else f"{name}-{machine[:8]}",
                how.get("host", ""),
                how.get("user") or ssh.user,
                int(port) if port.isdigit() else None,
                ssh.key,
                ssh.known_hosts,
                ssh.gateway,
                ssh.connect_timeout,
            )
        )
    return left
