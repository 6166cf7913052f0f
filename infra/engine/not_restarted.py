"""The dynos that a restart leaves as they are, with the reasons: what it does not say would be taken for restarted."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from infra.fleet.facts import newest_meta
from infra.fleet.identity import identify
from infra.fleet.inventory import departed_targets
from infra.fleet.observe import Observed
from infra.manifest.model import Manifest
from infra.model import naming


def reasons(
    manifest: Manifest, observed: Mapping[str, Observed], homes: Mapping[str, str], restarted: Collection[str]
) -> dict[str, str]:
    """By dyno, why it is not restarted, or not everywhere. ``homes`` are the servers of the dynos, ``restarted`` those
    that are restarted. Schedules start anew at each of their times, and are left out."""
    app, found = manifest.app.name, {server: seen.facts for server, seen in observed.items()}
    scheduled = {job.name for job in manifest.schedule}
    why: dict[str, str] = {}
    known = identify(manifest, found).servers
    departed = {
        machine: target.name for machine, target in departed_targets(manifest, found).items() if machine not in known
    }
    for dyno, machine in newest_meta(found.values()).get("dynos", {}).items():
        if machine in departed and dyno not in homes:
            why[dyno] = (
                f"is on {departed[machine]}, which is no longer in {manifest.file.name}, and is not restarted; "
                "to move it: dynoctl apply"
            )
    for dyno, home in homes.items():
        copies = [server for server, facts in found.items() if server != home and dyno in facts.dynos(app)]
        if copies:
            servers = ", ".join(copies)
            why[dyno] = (
                f"is also on {servers} and is not restarted there, as it belongs to {home}; "
                f"to remove it from {servers}: dynoctl apply"
            )
        elif home in found and dyno not in restarted:
            parts = any(key.partition(".")[2] == f"{app}-{dyno}" for key in observed[home].resources)
            why[dyno] = f"is damaged on {home}" if parts else f"is not on {home}, where it was applied last"
            why[dyno] += f"; to {'repair' if parts else 'start'} it: dynoctl apply"
    return {
        dyno: why[dyno] for dyno in sorted(why, key=naming.dyno_order) if naming.parse_dyno(dyno)[0] not in scheduled
    }
