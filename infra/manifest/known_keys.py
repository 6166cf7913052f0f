"""Which keys a manifest can have, by the JSON Schema. The value of an unknown one may be a secret."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

from infra.manifest.suggestions import nearest
from schemas import load

Path = tuple[str | int, ...]

_PLAIN_TEXT = tuple((section,) for section in ("env", "credentials", "database", "databases", "cache", "caches"))
"""Sections in which an item of a list may be a value that has lost its key."""

ALIKE = 0.74
"""How alike a key is to a known one that it is taken for, by the ratio of ``difflib``."""


@cache
def top() -> frozenset[str]:
    """The keys of the top level."""
    return frozenset(load("dyno.schema.json")["properties"])


@cache
def everywhere() -> frozenset[str]:
    """The keys of all levels. They are no part of a secret value, and so can be shown."""
    found = {"web", "worker"}
    waiting: list[Any] = [load("dyno.schema.json")]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            found.update(node["properties"] if isinstance(node.get("properties"), dict) else ())
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return frozenset(found)


def is_unknown(path: Path) -> bool:
    """Whether a path is that of an unknown key, or below one. A key that is almost like a known one is taken for it.
    What begins with ``x-`` is for other tools, and so unknown."""
    return str(path[0]).startswith("x-") or _schemas(path) == () if path else False


@cache
def choices() -> frozenset[str]:
    """The words of all lists of choices, such as ``redis`` and ``nginx``. They are no secrets, wherever they are."""
    found: set[str] = set()
    waiting: list[Any] = [load("dyno.schema.json")]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            found.update(word for word in node.get("enum", ()) if isinstance(word, str))
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return frozenset(found)


def is_mapping(path: Path, kinds: Collection[str] = ("object", "array")) -> bool:
    """Whether the schema wants a mapping or a list at a path, or only one of the ``kinds``, and no text."""
    schemas = _schemas(path) or ()
    wanted = {kind for node in schemas for schema in _alternatives(node) for kind in _kinds(schema)}
    return bool(wanted) and wanted <= {*kinds}


def takes_reference(path: Path) -> bool:
    """Whether the value at a path can be a reference, such as ``{from_env: NAME}``."""
    return any("from_env" in schema.get("properties", {}) for schema in _schemas_of(meant(path)))


@lru_cache(maxsize=4096)
def meant(path: Path) -> Path:
    """The path with each key as it is likely meant, and without places in a list where no list belongs."""
    if not path:
        return ()
    above = meant(path[:-1])
    if isinstance(path[-1], int):
        wanted = any("items" in schema for schema in _schemas_of(above))
        return path if path[:1] in _PLAIN_TEXT and len(path) == 2 else (*above, path[-1]) if wanted else above
    return (*above, _near(path[-1], _schemas_of(above)) or path[-1])


@lru_cache(maxsize=4096)
def _schemas(path: Path) -> tuple[Any, ...] | None:
    """The schemas of a path; () if it is unknown, None if its names are the user's."""
    if not path:
        return (load("dyno.schema.json"),)
    above = _schemas(path[:-1])
    if not above:
        return above
    alternatives = [schema for node in above for schema in _alternatives(node)]
    items = tuple(schema["items"] for schema in alternatives if "items" in schema)
    if isinstance(path[-1], int) or (items and not any("properties" in schema for schema in alternatives)):
        return items or above  # dashes where a mapping belongs, or names where a list does
    found = [below for schema in alternatives for below in _below(schema, path[-1])]
    return None if None in found else tuple(found)


def _schemas_of(path: Path) -> list[Mapping[str, Any]]:
    return [schema for node in _schemas(path) or () for schema in _alternatives(node)]


def _alternatives(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "$ref" in schema:
        schema = load("dyno.schema.json")["$defs"][schema["$ref"].rpartition("/")[2]]
    yield schema
    for other in schema.get("anyOf", ()):
        yield from _alternatives(other)


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kind = schema.get("type", ["string"] if schema.keys() & {"enum", "const"} else [])
    return kind if isinstance(kind, list) else [kind]


def _near(key: str, schemas: Iterable[Mapping[str, Any]]) -> str:
    """The known key that a key is, or is almost; "" if there is none."""
    known = [name for schema in schemas for name in schema.get("properties", {})]
    return key if key in known else nearest(key, known, ALIKE)


def _below(schema: Mapping[str, Any], key: str) -> Iterator[Any]:
    """The schemas of a key; None if any is allowed there."""
    if known := _near(key, (schema,)):
        yield schema["properties"][known]
    names, others = schema.get("patternProperties", {}), schema.get("additionalProperties")
    own = [below for name, below in names.items() if name != "^x-"]
    yield from [below for name, below in names.items() if re.search(name, key)] or own[:1]  # or it is an invalid name
    if isinstance(others, dict):
        yield others
    elif others is not False and schema.get("type") == "object":
        yield None
