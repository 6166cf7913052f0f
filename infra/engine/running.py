"""What runs, as a manifest: for commands that change the number or the servers of dynos, and deploy nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from infra.engine.prepared import Request
from infra.errors import DynoctlError
from infra.manifest.model import Manifest
from infra.manifest.references import resolve_credentials, resolve_environment, resolver_of
from infra.model import naming
from infra.model.stack import Registry
from infra.sensitive import reveal
from infra.state import config
from infra.state.release_body import Stored, pack

WITH_CHANGES = "--with-changes"


@dataclass(frozen=True)
class Running:
    """The release that runs, and the newest record of the formation."""

    stored: Stored
    meta: Mapping[str, Any]


def as_running(manifest: Manifest, running: Running, counts: Mapping[str, int]) -> Manifest:
    """The manifest with the settings that are in force, and with ``counts`` of some process types.

    The number of the other dynos is that of the last apply, even if it did not succeed. Raises DynoctlError if a type
    in ``counts`` is not in the running release."""
    try:
        known = config.restored(manifest, running.meta.get("config") or {})
    except ValueError:
        known = manifest  # an older dynoctl applied it last, and recorded no settings
    commands = running.stored.stack.commands
    dynos = {name: type_ for name, type_ in known.dynos.items() if type_.command is None or name in commands}
    for name in counts:
        if name not in dynos:
            raise DynoctlError(
                f"cannot scale {name}: not a process type of the running release v{running.stored.number}",
                f"to release it: dynoctl apply; or scale with {WITH_CHANGES}",
            )
    numbers = [naming.parse_dyno(dyno) for dyno in running.meta.get("dynos", {})]
    highest = {name: max((number for type_, number in numbers if type_ == name), default=0) for name in dynos}
    return replace(
        known,
        dynos={name: replace(type_, count=counts.get(name, highest[name])) for name, type_ in dynos.items()},
        schedule=tuple(schedule for schedule in known.schedule if schedule.name in commands),
        volumes=running.stored.stack.volumes,
    )


def left_out(manifest: Manifest, running: Running, registry: Registry, counts: Mapping[str, int]) -> list[str]:
    """What the manifest and the source would change besides ``counts``, in words that hold no values."""
    stored = running.stored
    found = []
    try:
        stack = registry.stack(manifest)
        if registry.slug(manifest, stack).digest != stored.slug:
            found.append("the source")
        resolver = resolver_of(manifest)
        variables, credentials = resolve_environment(manifest, resolver), resolve_credentials(manifest, resolver)
        found += _named("config vars", variables, stored.environment)
        found += _named("credentials", credentials, stored.credentials)
        now, was = (json.loads(pack(layer, "", {})) for layer in (stack, stored.stack))
        apart = {"commands", "packages", "ruby", "executables"}
        if any(now[key] != was[key] for key in now.keys() - apart):
            found.append("the layers")
        found += [
            f"the command of {name}" for name, argv in stack.commands.items() if stored.stack.commands.get(name) != argv
        ]
    except DynoctlError as error:  # such as a secret that is not at hand: what runs has its own
        found.append(f"changes that cannot be read here ({error.summary.splitlines()[0]})")
    recorded = running.meta.get("config")
    if isinstance(recorded, Mapping):
        same = {name: replace(type_, count=counts.get(name, type_.count)) for name, type_ in manifest.dynos.items()}
        was = dict(recorded)
        was["dynos"] = {
            name: {**values, "count": counts.get(name, values.get("count"))}
            for name, values in recorded.get("dynos", {}).items()
        }
        found += config.differing(config.document(replace(manifest, dynos=same)), was)
    return found


def _named(what: str, now: Mapping[str, object], was: Mapping[str, object]) -> list[str]:
    """The names of the values that differ, without the values."""
    names = [name for name in now.keys() | was.keys() if reveal(now.get(name)) != reveal(was.get(name))]
    return [f"{what} {', '.join(sorted(names))}"] if names else []


def request(
    manifest: Manifest, running: Running, registry: Registry, asked: Request, counts: Mapping[str, int]
) -> tuple[Manifest, Request]:
    """The manifest and the request that change nothing but ``counts`` and the homes of evacuated dynos."""
    wanted = as_running(manifest, running, counts)
    # What is of no known type stays as it is.
    selection = replace(asked.selection, starting=True, types=tuple(counts or wanted.types))
    left = tuple(left_out(manifest, running, registry, counts))
    return wanted, replace(asked, stored=running.stored, running=True, selection=selection, left_out=left)
