"""Servers that only the record of another one names: they are not logged in to before a second party confirms them."""

from __future__ import annotations

from collections.abc import Mapping

from infra.errors import DynoctlError
from infra.fleet.observe import Fleet
from infra.fleet.witnesses import names
from infra.manifest.model import Manifest
from infra.model.target import Target, host_port


def leave_alone(
    manifest: Manifest,
    fleet: Fleet,
    unproven: Mapping[str, Target],
    recorded: Mapping[str, Mapping[str, str]],
    verb: str,
) -> dict[str, Target]:
    """Add these servers, by machine-id, to those that are unreachable, so that their dynos keep their numbers; and say
    how to vouch for them. ``verb`` is the command to do it with."""
    facts = {name: observed.facts for name, observed in fleet.found.items()}
    for machine, target in unproven.items():
        alone = names(machine, recorded[machine], facts) or ["one server"]
        at = target.host if target.port is None else host_port(target.host, target.port)
        fleet.unreachable[target.name] = DynoctlError(
            f"{target.name} ({at}) is not in {manifest.file.name}, and known from {', '.join(alone)} alone: it is not "
            "logged in to, and nothing is removed from it",
            f"to remove {manifest.app.name} from it: dynoctl {verb} --trust {alone[0]}; or if it is gone: "
            f"dynoctl {verb} --forget {target.name}",
        )
    return dict(unproven)
