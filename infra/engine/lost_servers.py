"""Refuses to give a server up that answers: what it runs would go on, and nobody would know."""

from __future__ import annotations

from infra.errors import DynoctlError, Unreachable
from infra.fleet.inventory import leaving_targets
from infra.fleet.observe import Fleet, Observer, observe
from infra.manifest.model import Manifest
from infra.model.shell import Connect


def refuse_forgetting(
    forget: frozenset[str], manifest: Manifest, fleet: Fleet, observer: Observer, connect: Connect
) -> None:
    """A server that answers is emptied, not forgotten: its dynos would go on running, and nobody would know."""
    asked = Fleet()
    everybody = leaving_targets(manifest, {name: seen.facts for name, seen in fleet.found.items()})
    try:
        observe([target for target in everybody if target.name in forget], observer, asked, connect)
    finally:
        asked.close()
    if asked.found:
        names = ", ".join(sorted(asked.found))
        raise DynoctlError(
            f"{names} answers, so it is not forgotten", "Apply without --forget: it removes what is left there."
        )


def refuse_evacuation(evacuate: frozenset[str], manifest: Manifest, fleet: Fleet) -> None:
    """What lives on a server that answers can be moved away in order, and would run twice otherwise."""
    for name in sorted(evacuate):
        if name not in {server.name for server in manifest.servers}:
            there = ", ".join(server.name for server in manifest.servers)
            raise DynoctlError(
                f"--evacuate {name}: there is no such server in {manifest.file.name}",
                f"There is: {there}. For one that left the manifest: dynoctl apply --forget {name}",
            )
        why = fleet.unreachable.get(name)
        if why is None:
            raise DynoctlError(
                f"--evacuate {name}: it answers, so its dynos can move while they run",
                f"Say drain: true for {name} in {manifest.file.name}, then: dynoctl apply",
            )
        if not isinstance(why, Unreachable):
            raise DynoctlError(f"--evacuate {name}: it answers, though not as it should: {why.summary}", why.hint)
