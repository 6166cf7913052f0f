"""The settings of an app that are no part of a release, as the last complete apply left them: numbers and limits of
dynos, schedules, the router, the rollout and the servers. Whoever changes one of them needs the others as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, TypeVar

from infra.fleet.identity import Connections, address_of, recorded_address
from infra.manifest.model import DynoType, Health, Manifest, Reference, Rollout, Router, Schedule, Server

T = TypeVar("T")
VERSION = 1


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
        "keep": manifest.keep,
    }


def restored(manifest: Manifest, recorded: Mapping[str, Any], connections: Connections) -> Manifest:
    """The manifest with the recorded settings. How to reach a server is what the manifest says, and servers that were
    added to it have room for dynos, too; one that has another name now is one server. One that left it stays, unless it
    was forgotten since then: ``connections`` are those of the recorded machines. Raises ValueError if the record cannot
    be read."""
    try:
        if recorded.get("version") != VERSION:
            raise ValueError("unknown version")
        rollout = dict(recorded["rollout"])
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
            keep=int(recorded["keep"]),
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
    for key in ("dynos", "schedule", "router", "rollout", "servers", "spread", "keep"):
        was, will = recorded.get(key), now.get(key)
        if key in ("dynos", "schedule", "servers") and isinstance(was, Mapping) and isinstance(will, Mapping):
            names = sorted(name for name in {*was, *will} if _plain(was.get(name)) != _plain(will.get(name)))
            found += [f"{key}.{name}" for name in names]
        elif _plain(was) != _plain(will):
            found.append({"spread": "placement.spread"}.get(key, key))
    return found


def _plain(value: object) -> object:
    """The value as it is read from JSON, where there are no tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _made(kind: type[T], values: Mapping[str, Any]) -> T:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # all of them are dataclasses
    return kind(**{name: _value(value) for name, value in values.items() if name in known})


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, Mapping) and value.keys() == {"kind", "value"}:
        return Reference(value["kind"], _value(value["value"]))
    return value
