"""Machines that were replaced or given up: what the plan says of them, and whose data is lost with them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from infra.fleet.facts import Facts, newest_meta
from infra.fleet.identity import NONE, Connections, identify, recorded_connections
from infra.manifest.model import Manifest


def new_machines(manifest: Manifest, found: Mapping[str, Facts], hinted: Connections = NONE) -> list[str]:
    """A note for each server at whose address the last apply found another machine, or that had another one at another
    address: a mistyped address may lead to a machine that answers."""
    known = identify(manifest, found, hinted)
    recorded = {**hinted, **recorded_connections(newest_meta(found.values()))}
    now = {server.name: found[server.name].machine_id for server in manifest.servers if server.name in found}
    new = {name: machine for name, machine in now.items() if machine not in recorded}
    notes = [
        f"{name} is a new machine (was {machine}, now {new[name]})"
        for machine, name in sorted(known.servers.items())
        if machine in known.replaced and name in new
    ]
    for machine, way in sorted(recorded.items()):
        name = way.get("name", "")
        if name in new and machine not in {*now.values(), *known.servers}:
            notes.append(f"{name} is a new machine (was {machine} at {way.get('host', '')}, now {new[name]})")
    return notes


def lost_homes(
    manifest: Manifest, evacuated: Collection[str], forgotten: Collection[str], found: Mapping[str, Facts]
) -> dict[str, str]:
    """By dyno, the recorded server that is not waited for any more, in words."""
    known, meta = identify(manifest, found), newest_meta(found.values())
    reached = {facts.machine_id for facts in found.values()}
    recorded = recorded_connections(meta)
    lost = {}
    for dyno, machine in meta.get("dynos", {}).items():
        name = known.servers.get(machine) or recorded.get(machine, {}).get("name", "") or machine[:8]
        if machine in reached:
            continue
        if machine in known.replaced:
            lost[dyno] = f"{name}, which is a new machine"
        elif name in evacuated:
            lost[dyno] = f"{name}, which is evacuated"
        elif machine in forgotten:
            lost[dyno] = f"{name}, which is forgotten"
        elif machine not in known.servers:
            lost[dyno] = f"{name}, which left the manifest and is unreachable"
    return lost
