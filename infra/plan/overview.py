"""What a reviewer wants to know of each server besides its changes: address, labels, router and free capacity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from infra.fleet.facts import Facts
from infra.manifest.model import Manifest
from infra.model import naming
from infra.model.formation import CORE, Formation


@dataclass(frozen=True)
class ServerOverview:
    """A server of a plan. ``cores`` and ``free`` are None if it was not observed. ``free`` is the CPU in thousandths of
    a core that no dyno of any app reserves after the plan; ``router`` is the kind of its router, "" without one.
    ``per_core`` is the CPU that a core gives to dynos: more than ``CORE`` with ``placement.overcommit``."""

    address: str
    labels: Mapping[str, str] = field(default_factory=dict)
    cores: int | None = None
    free: int | None = None
    router: str = ""
    draining: bool = False
    per_core: int = CORE


def overview(manifest: Manifest, formation: Formation, found: Mapping[str, Facts]) -> dict[str, ServerOverview]:
    """The servers of the manifest in its order, then those that left it, by name. ``found`` are the observed ones."""
    used = {
        name: sum(mark.reserved for mark in facts.marks if mark.app != manifest.app.name)
        for name, facts in found.items()
    }
    quotas = {dyno.name: dyno.cpu for dyno in formation.dynos}
    for dyno, home in formation.homes.items():
        if home in used:
            used[home] += quotas.get(dyno) or manifest.types[naming.parse_dyno(dyno)[0]].cpu
    router = manifest.router
    servers = {
        server.name: ServerOverview(
            server.host,
            dict(server.labels),
            router=router.kind if router is not None and server.name in router.servers else "",
            draining=server.drain,
            per_core=manifest.per_core,
        )
        for server in manifest.servers
    }
    for name, facts in found.items():
        known = servers.get(name, ServerOverview(facts.address, per_core=manifest.per_core))
        servers[name] = replace(known, cores=facts.cores, free=max(0, facts.cores * manifest.per_core - used[name]))
    return servers
