"""The record of an app's formation on a server: parsed, with invalid parts left out, and its format."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from infra import __version__
from infra.errors import NewerRecords
from infra.model import answer
from infra.model.merged_releases import FAR
from infra.model.naming import DYNO_NAME
from infra.model.shared import Shared

RECORDS_FORMAT = 1
"""The format of an app's records on a server, as in its ``meta.json``. All older formats are read."""


_MACHINE = re.compile(r"[0-9A-Za-z_.:-]{1,64}")
"""A machine-id, or what a test or a simulation has instead of one."""

LONGEST = 255
"""Characters of a host, a name, a user or an address."""


@lru_cache(maxsize=8)
def parse(text: str) -> Mapping[str, Any]:
    """The meta record; invalid parts are left out. All servers have the same one as a rule, which is parsed once."""
    value = answer.record(text)
    _refuse_newer(value)
    serial, dynos, servers = value.get("serial"), value.get("dynos"), value.get("servers")
    if not (answer.whole(serial) and isinstance(dynos, dict) and isinstance(servers, dict)):
        return {}
    routers = value.get("routers")
    parsed = {
        **value,
        "serial": serial,
        "dynos": _homes(dynos),
        "leaving": _homes(value.get("leaving")),
        "servers": _connections(servers),
        "spares": _connections(value.get("spares")),
        "settled": _settled(value),
        "routers": sorted({machine for machine in routers if is_machine(machine)}) if isinstance(routers, list) else [],
        "moving": _homes(value.get("moving")),
        "environment": str(value.get("environment", "default")),
        "config": _config(value.get("config")),
    }
    return Shared(parsed, text)


def serial_of(meta: Mapping[str, Any]) -> int:
    """The serial of a meta record; 0 if it has none."""
    serial = meta.get("serial")
    return serial if isinstance(serial, int) else 0


def order(meta: Mapping[str, Any]) -> tuple[int, str, str]:
    """A sort key: the newest record last. Servers that were installed anew while others were away may have another one
    with the same serial: then it is the later one, whatever the order of the servers."""
    return (serial_of(meta), str(meta.get("when", "")), json.dumps(meta, sort_keys=True))


def newest(metas: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The newest of the records; {} if there is none. One with a serial that no server can have is left out if there
    is another: it would decide for ever."""
    recorded = sorted((meta for meta in metas if meta), key=serial_of)
    if not recorded:
        return {}
    last = len(recorded) - 1
    if last and serial_of(recorded[last]) > serial_of(recorded[last - 1]) + FAR:
        last -= 1
    latest = recorded[last]
    others = [meta for meta in recorded[:last] if meta is not latest and serial_of(meta) == serial_of(latest)]
    return max((latest, *others), key=order) if others else latest


def combined(newest: Mapping[str, Any], unseen: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The newest record, with the servers and dynos of records that it does not know of. Where both know of one, the
    newest one decides."""
    made = dict(newest)
    for meta in unseen:
        for key in ("servers", "spares", "dynos", "leaving", "moving"):
            made[key] = {**meta.get(key, {}), **made.get(key, {})}
        made["routers"] = sorted({*meta.get("routers", ()), *made.get("routers", ())})
    made["spares"] = {machine: way for machine, way in made["spares"].items() if machine not in made["servers"]}
    return made


def is_machine(value: object) -> bool:
    """Whether a value is a machine-id."""
    return isinstance(value, str) and _MACHINE.fullmatch(value) is not None


def _homes(value: object) -> dict[str, str]:
    """Machine-ids by dyno."""
    if not isinstance(value, dict):
        return {}
    return {dyno: machine for dyno, machine in value.items() if DYNO_NAME.match(dyno) and is_machine(machine)}


def _config(value: object) -> Mapping[str, Any] | None:
    return value if isinstance(value, dict) else None


def _settled(meta: Mapping[str, Any]) -> Mapping[str, str]:
    """The dynoctl build and manifest of the last complete apply. 0.1.0 recorded neither its version nor this."""
    value = meta.get("settled", {} if "dynoctl" in meta else {"dynoctl": "0.1.0"})
    return {key: str(text) for key, text in value.items()} if isinstance(value, dict) else {}


def _refuse_newer(meta: Mapping[str, Any]) -> None:
    """Raise NewerRecords, with both versions, if these records have a newer format."""
    found: Any = meta.get("version")
    if answer.whole(found) and found > RECORDS_FORMAT:
        writer = f"dynoctl {str(meta.get('dynoctl') or '(unknown version)')[:40]}"
        raise NewerRecords(
            f"records have format {found}, written by {writer}; "
            f"dynoctl {__version__} reads formats up to {RECORDS_FORMAT}",
            f"use {writer} or later",
        )


def _connections(value: object) -> Mapping[str, Mapping[str, str]]:
    if not isinstance(value, dict):
        return {}
    return {
        machine: {key: str(text) for key, text in connection.items()}
        for machine, connection in value.items()
        if is_machine(machine) and isinstance(connection, dict) and all(map(_is_way, connection.values()))
    }


def _is_way(value: object) -> bool:
    """Whether a value may be part of a connection. One that begins with a dash would be an option of a program."""
    return (
        isinstance(value, str | int) and (text := str(value)).isprintable() and len(text) <= LONGEST and text[:1] != "-"
    )
