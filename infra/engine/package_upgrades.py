"""The upgrades without which a package cannot be installed: asked for when a plan installs packages, and planned or
refused as the manifest says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.engine.prepared import Inputs
from infra.errors import Diagnostic, DynoctlError
from infra.manifest.model import Manifest
from infra.model.resource import Action, Resource
from infra.plan.plan import Plan
from infra.remote.parallel import each


def look(inputs: Inputs, plan: Plan) -> dict[str, Sequence[Resource]]:
    """Ask the servers on which the plan installs packages what apt would upgrade for it, by server. It knows what its
    package lists say: if they are old, the step that installs finds out, and refuses."""
    missing: dict[str, list[str]] = {}
    for change in plan.changes:
        name = change.resource.name
        if change.action is Action.CREATE and change.resource.key == inputs.registry.package_key(name):
            missing.setdefault(change.resource.server, []).append(name)

    def ask(server: str) -> list[Resource]:
        _, said = inputs.fleet.sessions[server].execute(inputs.registry.simulate(missing[server]))
        return inputs.registry.upgrades(server, said)

    if inputs.request.untrusted:  # its login runs nothing but the observation
        return {}
    found = each(ask, missing)
    return {
        server: upgrades for server, upgrades in found.items() if not isinstance(upgrades, DynoctlError) and upgrades
    }


def refused(manifest: Manifest, blocking: Mapping[str, Sequence[Resource]]) -> list[Diagnostic]:
    """The errors of upgrades that the manifest does not allow."""
    if manifest.packages.upgrade:
        return []
    names = ", ".join(manifest.packages.names)
    keys = [f"install: [{names}]"] * bool(names) + [f"builder: [{', '.join(manifest.packages.builder)}]"] * bool(
        manifest.packages.builder
    )
    form = ", ".join([*keys, "upgrade: needed"])
    return [
        Diagnostic(
            f"{server}: packages cannot be installed before {_versions(upgrades)}",
            path="packages",
            hint=f"to do that with this plan: packages: {{{form}}}; or do it on {server}",
        )
        for server, upgrades in blocking.items()
    ]


def _versions(upgrades: Sequence[Resource]) -> str:
    shown = [f"{one.name} ({one.attributes['before']} to {one.attributes['after']})" for one in upgrades[:5]]
    more = f" and {len(upgrades) - 5} more" if len(upgrades) > 5 else ""
    return f"{', '.join(shown)}{more} {'is' if len(upgrades) == 1 else 'are'} upgraded"
