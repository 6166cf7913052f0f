"""How the servers of an app were reached, as the records have it."""

from __future__ import annotations

from collections.abc import Mapping


def connections(value: object) -> Mapping[str, Mapping[str, str]]:
    """The connections in a record, by machine-id; what is no connection is left out."""
    if not isinstance(value, dict):
        return {}
    return {
        machine: {key: str(text) for key, text in connection.items()}
        for machine, connection in value.items()
        if isinstance(connection, dict)
    }
