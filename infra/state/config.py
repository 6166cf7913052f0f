"""The settings of an app that are no part of a release, as the last complete apply left them: numbers and limits of
dynos, schedules, the router, the rollout and the servers. Whoever changes one of them needs the others as they are."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import MISSING, asdict, fields, replace
from functools import cache
from ipaddress import ip_address
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from infra.fleet.identity import Connections, address_of, recorded_address
from infra.manifest.model import DynoType, Health, Manifest, Reference, Rollout, Router, Schedule, Server
from infra.manifest.variables import LARGEST

T = TypeVar("T")
VERSION = 1

LONGEST = 10_000
"""Characters of a value other than a command."""


def document(manifest: Manifest) -> dict[str, Any]:
    """The settings as JSON values. References are kept as such, so there are no secrets."""
    return {
        "version": VERSION,
        "dynos": {name: asdict(type_) for name, type_ in manifest.dynos.items()},
        "schedule": {schedule.name: asdict(schedule) for schedule in manifest.schedule},
        "router": None if manifest.router is None else asdict(manifest.router),
        "rollout": asdict(manifest.rollout),
        "servers": {server.name: asdict(server) for server in manifest.servers},
        "spread": manifest.spread,
        "overcommit": manifest.per_core,
        "volumes": {volume.name: dict(volume.labels) for volume in manifest.volumes if volume.labels},
        "sizes": {volume.name: volume.size for volume in manifest.volumes},
        "keep": manifest.keep,
    }


def sizes(recorded: object) -> dict[str, int]:
    """The recorded sizes of volumes in bytes, by name; {} if an older dynoctl recorded none, or they are invalid."""
    found = recorded.get("sizes") if isinstance(recorded, Mapping) else None
    try:
        for size in found.values() if isinstance(found, Mapping) else ():
            _check("size", size, int)
    except (TypeError, ValueError):
        return {}
    return dict(found) if isinstance(found, Mapping) else {}


def restored(manifest: Manifest, recorded: Mapping[str, Any], connections: Connections) -> Manifest:
    """The manifest with the recorded settings. How to reach a server is what the manifest says, and servers that were
    added to it have room for dynos, too; one that has another name now is one server. One that left it stays, unless it
    was forgotten since then: ``connections`` are those of the recorded machines. Raises ValueError if the record cannot
    be read."""
    try:
        if recorded.get("version") != VERSION:
            raise ValueError("unknown version")
        rollout, keep = _filled("rollout", recorded["rollout"]), recorded["keep"]
        _check("keep", keep, int)
        _check("spread", recorded["spread"], str | None)
        per_core, volumes = recorded.get("overcommit", Manifest.per_core), recorded.get("volumes", {})
        known = sizes(recorded)
        _check("overcommit", per_core, int)
        for labels in volumes.values():
            _check("labels", labels, Mapping[str, str])
        for section in ("dynos", "schedule", "servers"):
            if any(name != values["name"] for name, values in recorded[section].items()):
                raise ValueError(f"{section}: a name differs from its key")
        router = recorded["router"]
        kept = _kept(manifest, recorded["servers"], connections)
        renamed = _renamed(manifest, kept)
        if router is not None:
            router = {**router, "servers": [renamed[name] for name in router["servers"] if name in renamed]}
            router = router if router["servers"] else None
        return replace(
            manifest,
            dynos={name: _made(DynoType, values) for name, values in recorded["dynos"].items()},
            schedule=tuple(_made(Schedule, values) for values in recorded["schedule"].values()),
            router=None if router is None else _made(Router, router),
            rollout=_made(Rollout, {**rollout, "health": _made(Health, rollout["health"])}),
            servers=_servers(manifest, kept, renamed),
            spread=recorded["spread"],
            per_core=per_core,
            volumes=tuple(
                replace(one, labels=volumes.get(one.name, {}), size=known.get(one.name, one.size))
                for one in manifest.volumes
            ),
            keep=keep,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _kept(manifest: Manifest, recorded: Mapping[str, Any], connections: Connections) -> dict[str, Any]:
    """The recorded servers without those that are neither in the manifest nor in the records any more."""
    names = {server.name for server in manifest.servers}
    known = {address_of(manifest, server) for server in manifest.servers}
    known |= {recorded_address(connection, manifest) for connection in connections.values()}
    return {
        name: values
        for name, values in recorded.items()
        if name in names or address_of(manifest, _made(Server, values)) in known
    }


def _renamed(manifest: Manifest, recorded: Mapping[str, Any]) -> dict[str, str]:
    """The names that the recorded servers have now. An address tells which server it is, as names may be given to
    others; without one that is known, its name does. One that left the manifest, and whose name another one has now,
    gets a name of its own."""
    names = {address_of(manifest, server): server.name for server in manifest.servers}
    found: dict[str, str] = {}
    for name, values in recorded.items():
        at = names.get(address_of(manifest, _made(Server, values)))
        if at is not None and at not in found.values():
            found[name] = at
    for name in sorted(recorded.keys() - found.keys()):
        taken = {*found.values(), *recorded, *names.values()} - {name}
        others = (f"{name}-before{number or ''}" for number in range(len(taken) + 1))
        found[name] = name if name not in found.values() else next(one for one in others if one not in taken)
    return found


def _servers(manifest: Manifest, recorded: Mapping[str, Any], renamed: Mapping[str, str]) -> tuple[Server, ...]:
    here = {server.name: server for server in manifest.servers}
    known = {renamed[name]: replace(_made(Server, values), name=renamed[name]) for name, values in recorded.items()}
    for name, server in here.items():
        if name in known:
            known[name] = replace(known[name], host=server.host, user=server.user, port=server.port)
    return tuple({**known, **{name: server for name, server in here.items() if name not in known}}.values())


def differing(now: Mapping[str, Any], recorded: Mapping[str, Any]) -> list[str]:
    """The keys of the manifest whose settings differ from the recorded ones, such as ``dynos.worker``."""
    found = []
    # An older dynoctl knew none of these.
    recorded = {"overcommit": Manifest.per_core, "volumes": {}, "sizes": now.get("sizes"), **recorded}
    for key in _KEYS:
        was, will = _filled(key, recorded.get(key)), now.get(key)
        if key in _NAMED and isinstance(was, Mapping) and isinstance(will, Mapping):
            names = sorted(name for name in {*was, *will} if _plain(was.get(name)) != _plain(will.get(name)))
            found += [f"{'volumes' if key == 'sizes' else key}.{name}" for name in names]
        elif _plain(was) != _plain(will):
            known = {"spread": "placement.spread", "overcommit": "placement.overcommit", "sizes": "volumes"}
            found.append(known.get(key, key))
    return list(dict.fromkeys(found))


_KEYS = ("dynos", "schedule", "router", "rollout", "servers", "spread", "overcommit", "volumes", "sizes", "keep")
_NAMED = ("dynos", "schedule", "servers", "volumes", "sizes")
"""The keys of the settings, and those whose settings have names."""


def _filled(key: str, values: Any) -> Any:
    """A recorded setting with the defaults of what the dynoctl that recorded it did not know."""
    if key == "rollout" and isinstance(values, Mapping) and isinstance(health := values.get("health"), Mapping):
        if "host" in health:
            return {**_defaults(Rollout), **values}
        # It had one default for all dynos, and recorded it.
        least = {"min_healthy_time": values.get("min_healthy_time") or None}
        return {**values, **least, "health": {**asdict(Health()), **health}}
    if key == "router" and isinstance(values, Mapping):
        return {**_defaults(Router), **values}
    made = {"dynos": DynoType, "schedule": Schedule, "servers": Server}.get(key)
    if made is not None and isinstance(values, Mapping):
        known = _defaults(made)
        return {name: {**known, **each} if isinstance(each, Mapping) else each for name, each in values.items()}
    return values


def _defaults(made: type[DynoType | Rollout | Router | Schedule | Server]) -> dict[str, Any]:
    """The defaults of a part of the settings. A mapping is empty by default."""
    given = {field.name: field.default for field in fields(made) if field.default is not MISSING}
    return {**{field.name: {} for field in fields(made) if field.default_factory is not MISSING}, **given}


def _plain(value: object) -> object:
    """The value as it is read from JSON, where there are no tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def only_recorded(manifest: Manifest, known: Manifest, named: Container[str] = ()) -> list[str]:
    """What the ``known`` settings have and the manifest does not, and what would be logged in to, read or run on this
    computer: servers, and references to secrets. Not the servers that the user ``named``."""
    here = {server.host for server in manifest.servers}
    router, own = known.router, manifest.router
    references = [] if router is None else [router.certificate, router.key]
    written = [] if own is None else [own.certificate, own.key]
    return [
        *(
            f"the server {server.name} ({server.host})"
            for server in known.servers
            if not (server.host in here or server.name in named)
        ),
        *(f"a secret by {reference.kind}" for reference in references if reference and reference not in written),
    ]


def _made(kind: type[T], values: Mapping[str, Any]) -> T:
    """A part of the settings from a record, which may be damaged or forged. Raises TypeError if a value is of another
    type than in the manifest, or ValueError if a manifest could not have it."""
    kinds = _kinds(cast(type, kind))
    made = {name: _value(value) for name, value in values.items() if name in kinds}
    for name, value in made.items():
        _check(name, value, kinds[name])
    return kind(**made)


@cache
def _kinds(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


_NAMES = re.compile(r"[A-Za-z0-9*_][A-Za-z0-9._*-]{0,252}")
"""Names of types, schedules, servers, users and hosts."""


def _check(name: str, value: object, kind: Any) -> None:
    """Whether a value has a type of the model, and is one that a manifest may have."""
    if not _is(value, kind):
        raise TypeError(f"{name}: invalid type {type(value).__name__}")
    texts = [*value] if isinstance(value, tuple | Mapping) else [value]
    texts += value.values() if isinstance(value, Mapping) else ()
    for text in (item for item in texts if isinstance(item, str)):
        # A command may have several lines. Encoding raises ValueError for what is no text.
        if "\0" in text or len(text.encode()) > LARGEST if name == "command" else not _is_short(text):
            raise ValueError(f"{name}: invalid value")
        if name in ("name", "host", "hosts", "servers", "kind", "user", "listen") and not (
            _NAMES.fullmatch(text) or _is_address(text)
        ):
            raise ValueError(f"{name}: invalid value")
    if isinstance(value, int) and not 0 <= value <= 2**50:
        raise ValueError(f"{name}: invalid number")


def _is_short(text: str) -> bool:
    return text.isprintable() and len(text) <= LONGEST


def _is_address(text: str) -> bool:
    try:
        return bool(ip_address(text))
    except ValueError:
        return False


def _is(value: object, kind: Any) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_is(value, argument) for argument in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, tuple) and all(_is(item, arguments[0]) for item in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            _is(key, arguments[0]) and _is(item, arguments[1]) for key, item in value.items()
        )
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, Mapping) and value.keys() == {"kind", "value"}:
        made = Reference(value["kind"], _value(value["value"]))
        _check("kind", made.kind, _kinds(Reference)["kind"])
        _check("value", made.value, _kinds(Reference)["value"])
        return made
    return value
