"""What runs, as a manifest, for commands that change only the number, the servers or the release of dynos."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from infra.engine.prepared import Request
from infra.errors import DynoctlError
from infra.fleet.identity import address_of, recorded_address, recorded_connections
from infra.fleet.meta_record import serial_of
from infra.manifest.model import DynoType, Manifest, Router, Volume
from infra.manifest.references import resolve_credentials, resolve_environment, resolver_of
from infra.model import naming
from infra.model.slug_digest import same_source
from infra.model.stack import Registry
from infra.model.volume import with_sizes
from infra.plan.volumes import labelled
from infra.sensitive import reveal
from infra.state import config
from infra.state.release_body import Stored, pack

WITH_CHANGES = "--with-changes"


@dataclass(frozen=True)
class Running:
    """The release that runs, and the newest record of the formation."""

    stored: Stored
    meta: Mapping[str, Any]


def as_running(
    manifest: Manifest, running: Running, counts: Mapping[str, int], named: Collection[str] = ()
) -> Manifest:
    """The manifest with the settings that are in force, and with ``counts`` of some process types.

    The number of the other dynos is that of the last apply, even if it did not succeed, and not less than what is in
    force and was not removed. Raises DynoctlError if a type in ``counts`` is not in the running release."""
    known = _in_force(manifest, running.stored, running.meta, named)
    commands = running.stored.stack.commands
    dynos = {name: type_ for name, type_ in known.dynos.items() if type_.command is None or name in commands}
    for name in counts:
        if name not in dynos:
            raise DynoctlError(
                f"cannot scale {name}: not a process type of the running release v{running.stored.number}",
                f"to release it: dynoctl apply; or scale with {WITH_CHANGES}",
            )
    return replace(
        known,
        dynos={**_numbered(dynos, running.meta), **{name: replace(dynos[name], count=counts[name]) for name in counts}},
        schedule=tuple(schedule for schedule in known.schedule if schedule.name in commands),
        volumes=_volumes(running.stored, known, manifest, running.meta),
        router=_router(known, manifest, running.meta),
    )


def _in_force(manifest: Manifest, stored: Stored, meta: Mapping[str, Any], named: Collection[str] = ()) -> Manifest:
    """The manifest with the settings in force. Raises DynoctlError if a single server names others by them."""
    known, vouched = _restored(manifest, meta), stored.settings
    # These are used before any plan is shown: a login with the user's key, or a program on this computer.
    if vouched is not None and not vouched.enough and (found := config.only_recorded(manifest, known, named)):
        alone = ", ".join(sorted(vouched.servers))
        raise DynoctlError(
            f"{vouched.what} is known from {alone} alone, and has what {manifest.file.name} has not: {found[0]}",
            f"use {manifest.file.name}: {WITH_CHANGES}; or if {alone} is right: --trust {alone}",
        )
    return known


def _volumes(stored: Stored, known: Manifest, manifest: Manifest, meta: Mapping[str, Any]) -> tuple[Volume, ...]:
    """The volumes of a release with the labels and the sizes in force. A size that no apply recorded, such as that of
    an older dynoctl, is the one that is written."""
    sizes = {volume.name: volume.size for volume in manifest.volumes} | config.sizes(meta.get("config"))
    return labelled(with_sizes(stored.stack.volumes, sizes), known)


def _router(known: Manifest, manifest: Manifest, meta: Mapping[str, Any]) -> Router | None:
    """The router in force, with the servers on which a part of a later apply may have made one: they follow the dynos,
    too."""
    router, connections = known.router or manifest.router, recorded_connections(meta)
    addresses = {address_of(known, server): server.name for server in known.servers}
    made = []
    for machine in meta.get("routers", ()):
        connection = connections.get(machine, {})
        made.append(addresses.get(recorded_address(connection, known), connection.get("name", "")))
    names = {server.name for server in known.servers}
    servers = dict.fromkeys(
        [*(known.router.servers if known.router else ()), *(name for name in made if name in names)]
    )
    return replace(router, servers=tuple(servers)) if router is not None and servers else None


def _restored(manifest: Manifest, meta: Mapping[str, Any]) -> Manifest:
    """The manifest with the settings of the last complete apply. Process types and schedules that only a part of a
    later one brought, such as with --target, are as the manifest has them."""
    try:
        known = config.restored(manifest, meta.get("config") or {}, recorded_connections(meta))
    except ValueError:
        return manifest  # an older dynoctl applied it last, and recorded no settings
    names = _highest(meta.get("dynos", {})).keys() - known.types.keys()
    return replace(
        known,
        dynos={**known.dynos, **{name: type_ for name, type_ in manifest.dynos.items() if name in names}},
        schedule=(*known.schedule, *(schedule for schedule in manifest.schedule if schedule.name in names)),
    )


def _with_settings(stored: Stored) -> Stored:
    """The release to be used together with the recorded settings."""
    return stored if stored.settings is None else replace(stored, vouched=(*stored.vouched, stored.settings))


def _numbered(dynos: Mapping[str, DynoType], meta: Mapping[str, Any]) -> dict[str, DynoType]:
    """The process types with the number of dynos of the last apply. Dynos that it was to remove and that are still
    there count up to the number in force."""
    applied, there = _highest(meta.get("dynos", {})), _highest(meta.get("leaving", {}))
    return {
        name: replace(type_, count=max(applied.get(name, 0), min(type_.count, there.get(name, 0))))
        for name, type_ in dynos.items()
    }


def _highest(names: Iterable[str]) -> dict[str, int]:
    """The highest number of each process type."""
    highest: dict[str, int] = {}
    for name, number in map(naming.parse_dyno, names):
        highest[name] = max(number, highest.get(name, 0))
    return highest


def left_out(manifest: Manifest, running: Running, registry: Registry, counts: Mapping[str, int]) -> list[str]:
    """What the manifest and the source would change besides ``counts``, in words that hold no values."""
    stored = running.stored
    found = []
    try:
        stack = registry.stack(manifest)
        if not same_source(registry.slug(manifest, stack).digest, stored.slug):
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
    return found + _settings(manifest, running.meta, counts)


def _settings(manifest: Manifest, meta: Mapping[str, Any], counts: Mapping[str, int]) -> list[str]:
    """The settings of the manifest that are not in force, besides ``counts``."""
    recorded = meta.get("config")
    if not isinstance(recorded, Mapping):
        return []
    same = {name: replace(type_, count=counts.get(name, type_.count)) for name, type_ in manifest.dynos.items()}
    known = config.document(_restored(manifest, meta))
    was = dict(recorded)
    was["dynos"] = {
        name: {**values, "count": counts.get(name, values.get("count"))}
        for name, values in {**known["dynos"], **recorded.get("dynos", {})}.items()
    }
    was["schedule"] = {**known["schedule"], **recorded.get("schedule", {})}
    return config.differing(config.document(replace(manifest, dynos=same)), was)


def _named(what: str, now: Mapping[str, object], was: Mapping[str, object]) -> list[str]:
    """The names of the values that differ, without the values."""
    names = [name for name in now.keys() | was.keys() if reveal(now.get(name)) != reveal(was.get(name))]
    return [f"{what} {', '.join(sorted(names))}"] if names else []


def request(
    manifest: Manifest, running: Running, registry: Registry, asked: Request, counts: Mapping[str, int]
) -> tuple[Manifest, Request]:
    """The manifest and the request that change nothing but ``counts`` and the homes of evacuated dynos."""
    wanted = _without(as_running(manifest, running, counts, asked.forget), manifest, asked.forget)
    # What is of no known type stays as it is.
    selection = replace(asked.selection, starting=True, types=tuple(counts or wanted.types))
    forgotten = {f"servers.{name}" for name in asked.forget}
    left = tuple(what for what in left_out(manifest, running, registry, counts) if what not in forgotten)
    asked = replace(asked, stored=_with_settings(running.stored), running=True, selection=selection, left_out=left)
    return wanted, replace(asked, as_of=serial_of(running.meta))


def rollback(manifest: Manifest, stored: Stored, meta: Mapping[str, Any], asked: Request) -> tuple[Manifest, Request]:
    """The manifest and the request that go back to a stored release, with the settings that are in force."""
    known = _in_force(manifest, stored, meta)
    dynos = _numbered(known.dynos, meta)
    volumes = _volumes(stored, known, manifest, meta)
    wanted = known if known is manifest else replace(known, dynos=dynos, volumes=volumes)
    left = tuple(_settings(manifest, meta, {}))
    return wanted, replace(asked, stored=_with_settings(stored), left_out=left, as_of=serial_of(meta))


def _without(wanted: Manifest, written: Manifest, forget: Collection[str]) -> Manifest:
    """The manifest without the servers that are forgotten because they are not in the file any more."""
    gone = set(forget) - {server.name for server in written.servers}
    if not gone:
        return wanted
    router = wanted.router
    if router is not None:
        staying = tuple(name for name in router.servers if name not in gone)
        router = replace(router, servers=staying) if staying else None
    return replace(wanted, servers=tuple(server for server in wanted.servers if server.name not in gone), router=router)
