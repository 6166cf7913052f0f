"""Edit the number of dynos in the text of a manifest without changing any other character."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml

from infra.errors import DynoctlError
from infra.manifest.nodes import Unusable
from infra.manifest.yaml_edit import (
    add_section,
    as_mapping,
    compose,
    count_uses,
    data_of,
    insert_first,
    refuse_alias,
    value_of,
)

_NUMBER = re.compile(r"((?:[&!]\S*\s+)*)([-+]?[0-9]+)")
"""An integer as it is written, after an anchor or a tag."""


def recount(data: Any, counts: Mapping[str, int]) -> None:
    """Set the counts of existing process types in the data of a manifest, in place."""
    dynos = data.get("dynos") if isinstance(data, dict) else None
    if not isinstance(dynos, dict):
        return
    for type_, count in counts.items():
        if type_ in dynos:
            value = dynos[type_]
            dynos[type_] = {**value, "count": count} if isinstance(value, dict) else count


def edit(text: str, counts: Mapping[str, int], dynos: Mapping[str, Any], name: str) -> str:
    """The text of the file ``name`` with new counts. ``dynos`` is from the merged manifest, in which the file overrides
    all others: a process type that the file does not set is added to it.

    Raises DynoctlError if a count cannot be changed without changing something else."""
    for type_, count in counts.items():
        is_mapping = isinstance(dynos[type_], dict)
        try:
            edited = _set(text, type_, count, f"{{count: {count}}}" if is_mapping else str(count), name)
            before, after = data_of(text, name), data_of(edited, name)
        except (yaml.YAMLError, Unusable):
            raise _refusal(name, type_, count) from None
        types = before.setdefault("dynos", {})
        if type_ in types:
            recount(before, {type_: count})
        else:
            types[type_] = {"count": count} if is_mapping else count
        if after != before:
            raise _refusal(name, type_, count)
        text = edited
    return text


def _refusal(name: str, type_: str, count: int) -> DynoctlError:
    return DynoctlError(
        f"cannot set {type_} to {count} in {name} without changing something else", f"edit {name} by hand"
    )


def _set(text: str, type_: str, count: int, entry: str, name: str) -> str:
    root = compose(text)
    if not isinstance(root, yaml.MappingNode):  # the overlay has only comments
        return add_section(text, None, "dynos", f"{type_}: {entry}")
    uses = count_uses(root)
    dynos = value_of(root, "dynos")
    if dynos is None:
        return add_section(text, root, "dynos", f"{type_}: {entry}")
    types = as_mapping(dynos, uses, "dynos", name)
    node = value_of(types, type_)
    if node is None:
        return insert_first(text, types, f"{type_}: {entry}")
    if isinstance(node, yaml.ScalarNode):
        return _replace(text, node, uses, count, type_, name)
    settings = as_mapping(node, uses, type_, name)
    number = value_of(settings, "count")
    if number is None:
        return insert_first(text, settings, f"count: {count}")
    return _replace(text, number, uses, count, type_, name)


def _replace(text: str, node: yaml.Node, uses: Counter[int], count: int, type_: str, name: str) -> str:
    refuse_alias(node, uses, f"the count of {type_}", name)
    start, end = node.start_mark.index, node.end_mark.index
    written = _NUMBER.fullmatch(text[start:end])
    if written is None:
        raise _refusal(name, type_, count)
    return text[: start + len(written[1])] + str(count) + text[end:]
