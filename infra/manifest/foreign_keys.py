"""What to write for a key that another tool has, that is indented wrongly, or that has lost its colon."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from schemas import load

_NAMED = ("caches", "databases", "dynos", "groups")
"""Sections whose keys are names of the user."""


@cache
def _answers(table: str) -> Mapping[str, str]:
    """What to write for each key of a table: ``top``, or ``nested`` (``SECTION.KEY``)."""
    text = files("infra.manifest").joinpath("foreign_keys.toml").read_text(encoding="utf-8")
    return {key: answer for keys, answer in tomllib.loads(text)[table].items() for key in keys.split(", ")}


def hint(data: Any, path: tuple[str | int, ...], key: str, allowed: Collection[str]) -> str:
    """What to do about an unknown key at a path, or "". ``allowed`` are the keys that are known there."""
    top = load("dyno.schema.json")["properties"]
    name, colon, _ = key.partition(":")
    if colon and (name in allowed or not allowed):
        return f"add a space after the colon: {name}: ..."
    first = key.split()[0] if key.split() else ""
    if first != key and (first in allowed or not allowed):
        return f"add a colon after {first}"
    if path:
        named = [part for part in path if isinstance(part, str)]
        # Names of the user's, such as those of process types, are no part of the key. Those of the schema are: in
        # database.password, file is not the file of a database.
        own = named[0] in _NAMED
        below = [f"{named[0]}.{'.'.join(named[1 + own :])}.{key}"] if len(named) > 1 + own else [f"{named[0]}.{key}"]
        tables = {".".join((*named, key)), *below}
        known = next(
            (answer for name in sorted(tables, key=len, reverse=True) if (answer := _answers("nested").get(name))), ""
        )
        if known == "" and path[0] == "servers" and isinstance(path[-1], int) and ("name" not in _at(data, path)):
            known = f"use name: {key} and host: ..., side by side" if isinstance(_at(data, path)[key], dict) else ""
        return known or (f"{key} is a key of the top level: write it there, without indentation" if key in top else "")
    owners = [section for section, schema in top.items() if data.get(section, "") is None and _owns(schema, key)]
    if len(owners) == 1:
        return f"indent it below {owners[0]}"
    return _answers("top").get(key, "")


def _at(data: Any, path: tuple[str | int, ...]) -> Any:
    """The mapping at a path."""
    for part in path:
        data = data[part]
    return data


def replaces(answer: str) -> frozenset[str]:
    """The keys that an answer says to use instead."""
    return frozenset(re.findall(r"(?:^use | and |did you mean )([a-z_]+)(?=: |,|\?|$)", answer))


def _owns(schema: Any, key: str) -> bool:
    parts = [schema, *schema.get("anyOf", ())]
    return any(
        key in part.get("properties", {}) or any(re.search(one, key) for one in part.get("patternProperties", {}))
        for part in parts
    )
