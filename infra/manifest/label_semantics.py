"""Checks of labels: some server must have those that a type, a schedule or a volume asks for, and every server those
over which dynos are spread or move in waves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.errors import Diagnostic
from infra.manifest.document import Document, Path, map_of
from infra.manifest.schedule_semantics import entries
from infra.manifest.suggestions import nearest

NAMED = 8
"""How many servers an error lists."""


def shown(labels: Mapping[str, str]) -> str:
    """Labels as text, such as ``disk=ssd, rack=a``."""
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))


def listed(servers: Mapping[str, Mapping[str, str]]) -> str:
    """The labels of servers, by name, as text."""
    parts = [f"{name} ({shown(labels) or 'none'})" for name, labels in servers.items()]
    return f"labels of the servers: {', '.join([*parts[:NAMED], *(['...'] if len(parts) > NAMED else [])])}"


def check(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Every set of labels that no server with dynos has, and every server without a label that all need. Groups and
    defaults of servers must be expanded."""
    listing = data.get("servers")
    for section, key in (("placement", "spread"), ("rollout", "by")):
        yield from _everywhere(document, data, section, key)
    servers = {
        str(server.get("name")): _texts(server.get("labels"))
        for server in (listing if isinstance(listing, list) else ())
        if isinstance(server, dict) and server.get("dynos", True) is not False
    }
    types: dict[str, Mapping[str, str]] = {}
    dynos = data.get("dynos")
    asked: list[tuple[Path, str, object]] = [
        (("dynos", name), f"the process type {name}", entry)
        for name, entry in (dynos if isinstance(dynos, dict) else {}).items()
    ]
    asked += [(("schedule", n), f"the schedule {e.get('name')}", e) for n, e in enumerate(entries(data))]
    for path, what, entry in asked:
        labels = _wanted(entry)
        types[what.rpartition(" ")[2]] = labels
        yield from _found(document, path, what, labels, servers)
    volumes = data.get("volumes")
    for index, volume in enumerate(volumes if isinstance(volumes, list) else ()):
        if not (labels := _wanted(volume)):
            continue
        path = ("volumes", index)
        unknown = list(_found(document, path, f"the volume {volume.get('name')}", labels, servers))
        yield from unknown
        users = volume.get("types")
        for type_ in (users if isinstance(users, list) and users else types) if not unknown else ():
            others = types.get(str(type_), {})
            both = [has for has in servers.values() if {*labels.items(), *others.items()} <= has.items()]
            if not both and _some(others, servers):
                yield document.diagnostic(
                    (*path, "servers", "labels"),
                    f"no server has the labels of the volume {volume.get('name')} ({shown(labels)}) and those of "
                    f"{type_}, which uses it ({shown(others)})",
                    expected=listed(servers),
                )


def _everywhere(document: Document, data: Mapping[str, Any], section: str, key: str) -> Iterator[Diagnostic]:
    """A label of which every server must have a value, and does not."""
    settings, listing = data.get(section), data.get("servers")
    label = settings.get(key) if isinstance(settings, dict) else None
    if not isinstance(label, str) or not isinstance(listing, list):
        return
    servers = [server if isinstance(server, dict) else {} for server in listing]
    lacking = [index for index, server in enumerate(servers) if label not in map_of(server.get("labels"))]
    if len(lacking) == len(servers) > 1:
        keys = sorted({str(name) for server in servers for name in map_of(server.get("labels"))})
        close = nearest(label, keys)
        yield document.diagnostic(
            (section, key),
            f"no server has the label {label}",
            expected=f"one of: {', '.join(keys)}"
            if keys
            else f"a label of the servers, such as labels: {{{label}: a}}",
            hint=f"did you mean {close}?" if close else f"add labels: {{{label}: ...}} to each server",
        )
        return
    for index in lacking:
        summary = f"missing label {label}, which {section}.{key} requires"
        yield document.diagnostic(("servers", index), summary, expected=f"labels: {{{label}: ...}}")


def _found(
    document: Document, path: Path, what: str, labels: Mapping[str, str], servers: Mapping[str, Mapping[str, str]]
) -> Iterator[Diagnostic]:
    """The labels that no server has by itself, or else that none has together."""
    if not labels or _some(labels, servers):
        return
    at = (*path, "servers", "labels")
    unknown = [key for key, value in labels.items() if not _some({key: value}, servers)]
    for key in unknown:
        yield document.diagnostic(
            (*at, key),
            f"no server that runs dynos has the label {key}={labels[key]} of {what}",
            expected=listed(servers),
        )
    if not unknown:
        yield document.diagnostic(
            at, f"no server that runs dynos has all labels of {what}: {shown(labels)}", expected=listed(servers)
        )


def _some(labels: Mapping[str, str], servers: Mapping[str, Mapping[str, str]]) -> bool:
    return any(labels.items() <= has.items() for has in servers.values())


def _wanted(entry: object) -> dict[str, str]:
    servers = entry.get("servers") if isinstance(entry, dict) else None
    return _texts(servers.get("labels") if isinstance(servers, dict) else None)


def _texts(labels: object) -> dict[str, str]:
    """The labels whose values are texts; the schema reports the others."""
    return {key: value for key, value in labels.items() if isinstance(value, str)} if isinstance(labels, dict) else {}
