"""Short forms of a manifest's values: ``app_server: puma`` for a mapping, and ``10m`` for 600 seconds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from infra.manifest.document import Document, Path
from schemas import load

NAMES = {"app_server": "name", "framework": "name", "ruby": "version"}
"""Keys of the top level that may be one word, and the key of the mapping that the word is for."""

_DURATION = re.compile(r"([0-9]{1,7})(s|m|h|d)")
_SERIES = re.compile(r"[0-9]+(\.[0-9]+)?")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_ANY = "*"


def expand(document: Document) -> None:
    """Replace the short forms in the data of a document, in place."""
    data: Any = document.data
    if not isinstance(data, dict):
        return
    for key, name in NAMES.items():
        value = data.get(key)
        if not isinstance(value, str | int | float) or isinstance(value, bool) or value == "":
            continue
        text = document.scalars.get((key,), str(value))  # ruby: 3.10 is not 3.1
        if key == "ruby" and _SERIES.fullmatch(text):
            text = f"~> {text}.0"  # in RubyGems' syntax, 3.3 alone is 3.3.0 and not 3.3.8
        data[key] = {name: text}
        document.values[(key, name)] = document.values[(key,)]
        document.ends[(key, name)] = document.ends[(key,)]
        document.scalars[(key, name)] = text
    for path in _seconds():
        _convert(data, path)


def _convert(data: Any, path: Path) -> None:
    """Replace the durations at a path, in which ``*`` stands for any key or index, by numbers of seconds."""
    first, rest = path[0], path[1:]
    if isinstance(data, dict):
        keys: list[Any] = [key for key in data if first in (_ANY, key)]
    elif isinstance(data, list):
        keys = list(range(len(data))) if first == _ANY else []
    else:
        return
    for key in keys:
        value = data[key]
        if rest:
            _convert(value, rest)
        elif isinstance(value, str):
            found = _DURATION.fullmatch(value)
            if found is not None:
                data[key] = int(found[1]) * _UNITS[found[2]]


@cache
def _seconds() -> tuple[Path, ...]:
    """The paths of all values in seconds."""
    return tuple(dict.fromkeys(_paths(load("dyno.schema.json"), ())))


def _paths(schema: Mapping[str, Any], path: Path) -> Iterator[Path]:
    if schema.get("x-unit") == "seconds":
        yield path
    for part in (schema, *schema.get("anyOf", ())):
        for name, inner in part.get("properties", {}).items():
            yield from _paths(inner, (*path, name))
        for inner in part.get("patternProperties", {}).values():
            yield from _paths(inner, (*path, _ANY))
        if isinstance(part.get("items"), dict):
            yield from _paths(part["items"], (*path, _ANY))
