"""Refuse to forget or evacuate a reachable server: its dynos would keep running, unknown to the others."""

from __future__ import annotations

from infra.errors import DynoctlError, Unreachable
from infra.fleet.inventory import leaving_targets
from infra.fleet.observe import Fleet, Observer, observe
from infra.manifest.model import Manifest
from infra.model.shell import Connect


def refuse_forgetting(
    forget: frozenset[str], manifest: Manifest, fleet: Fleet, observer: Observer, connect: Connect
) -> None:
    """Raise DynoctlError if a server in ``forget`` is reachable: its dynos are to be removed, not forgotten."""
    reached = Fleet()
    candidates = leaving_targets(manifest, {name: observed.facts for name, observed in fleet.found.items()})
    try:
        observe([target for target in candidates.values() if target.name in forget], observer, reached, connect)
    finally:
        reached.close()
    if reached.found:
        names = ", ".join(sorted(reached.found))
        raise DynoctlError(
            f"cannot forget {names}: reachable", "apply without --forget, which removes the app from it: dynoctl apply"
        )


def refuse_evacuation(evacuate: frozenset[str], manifest: Manifest, fleet: Fleet) -> None:
    """Raise DynoctlError if a server in ``evacuate`` is reachable or not in the manifest: its dynos would run twice."""
    for name in sorted(evacuate):
        if name not in {server.name for server in manifest.servers}:
            names = ", ".join(server.name for server in manifest.servers)
            raise DynoctlError(
                f"cannot evacuate {name}: no such server in {manifest.file.name}",
                f"available: {names}; for a server that left the manifest: dynoctl apply --forget {name}",
            )
        why = fleet.unreachable.get(name)
        if why is None:
            raise DynoctlError(
                f"cannot evacuate {name}: reachable, so its dynos can be moved without downtime",
                f"set drain: true for {name} in {manifest.file.name}, then: dynoctl apply",
            )
        if not isinstance(why, Unreachable):
            raise DynoctlError(f"cannot evacuate {name}: reachable, but {why.summary}", why.hint)
