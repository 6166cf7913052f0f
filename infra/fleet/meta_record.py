"""The record of an app's formation on a server: parsed, with invalid parts left out, and its format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from infra import __version__
from infra.errors import NewerRecords
from infra.model.naming import DYNO_NAME

RECORDS_FORMAT = 1
"""The format of an app's records on a server, as in its ``meta.json``. All older formats are read."""


def parse(text: str) -> Mapping[str, Any]:
    """The meta record; invalid parts are left out."""
    value = parse_line(text)
    _refuse_newer(value)
    serial, dynos, servers = value.get("serial"), value.get("dynos"), value.get("servers")
    if not (isinstance(serial, int) and isinstance(dynos, dict) and isinstance(servers, dict)):
        return {}
    moving, routers = value.get("moving"), value.get("routers")
    return {
        **value,
        "serial": serial,
        "dynos": _homes(dynos),
        "leaving": _homes(value.get("leaving")),
        "servers": _connections(servers),
        "spares": _connections(value.get("spares")),
        "settled": _settled(value),
        "routers": sorted({str(machine) for machine in routers}) if isinstance(routers, list) else [],
        "moving": {dyno: str(machine) for dyno, machine in moving.items()} if isinstance(moving, dict) else {},
    }


def _homes(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {dyno: str(home) for dyno, home in value.items() if DYNO_NAME.match(dyno)}


def _settled(meta: Mapping[str, Any]) -> Mapping[str, str]:
    """The dynoctl build and manifest of the last complete apply. 0.1.0 recorded neither its version nor this."""
    value = meta.get("settled", {} if "dynoctl" in meta else {"dynoctl": "0.1.0"})
    return {key: str(text) for key, text in value.items()} if isinstance(value, dict) else {}


def _refuse_newer(meta: Mapping[str, Any]) -> None:
    """Raise NewerRecords, with both versions, if these records have a newer format."""
    found = meta.get("version")
    if isinstance(found, int) and found > RECORDS_FORMAT:
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
        if isinstance(connection, dict)
    }


def parse_line(text: str) -> Mapping[str, Any]:
    """Parse a record; {} if it is damaged. Records only tell drift from change, so nothing else is lost."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
