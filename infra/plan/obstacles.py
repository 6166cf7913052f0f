"""What stands in the way of a plan before anything is compared: other destinations, missing layers, other routers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from infra.errors import Diagnostic
from infra.fleet.facts import Facts
from infra.fleet.observe import Observed
from infra.manifest.model import Manifest
from infra.manifest.references import located
from infra.model import routing
from infra.model.stack import Stack
from infra.plan import preconditions


def obstacles(
    manifest: Manifest, stack: Stack, found: Mapping[str, Observed], leaving: Collection[str]
) -> list[Diagnostic]:
    """Everything of the servers' that no plan can change. Of servers that leave, only what they carry is looked at."""
    facts = {name: seen.facts for name, seen in found.items()}
    staying = {name: one for name, one in facts.items() if name not in leaving}
    idle = {server.name for server in manifest.servers if server.drain or not server.dynos}
    around = {name: (one.routes, one.ports) for name, one in staying.items()}
    return [
        *strange(manifest, facts),
        *preconditions.check(staying, stack, found, idle=idle),
        *located(manifest, list(routing.conflicts(manifest.app.name, manifest.router, around))),
    ]


def strange(manifest: Manifest, facts: Mapping[str, Facts]) -> Iterator[Diagnostic]:
    """What a server carries of another destination is not overwritten."""
    for name, seen in facts.items():
        there = str(seen.meta.get("environment", "default")) if seen.meta else manifest.environment
        if there != manifest.environment:
            yield Diagnostic(
                f"{name} carries {manifest.app.name} of the destination {there}, and this is {manifest.environment}",
                hint="Give the overlay an app.name or servers of its own; or say the same -d as last time.",
            )
