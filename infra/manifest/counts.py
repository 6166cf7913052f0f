"""Edit the number of dynos in the text of a manifest without changing any other character."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml

from infra.errors import DynoctlError
from infra.manifest.document import Document
from infra.manifest.load import parse
from infra.manifest.nodes import Unusable

_NUMBER = re.compile(r"((?:[&!]\S*\s+)*)([-+]?[0-9]+)")
"""An integer as it is written, after an anchor or a tag."""

_BREAK = re.compile(r"\r\n|\n|\r")


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
            before, after = _data(text, name), _data(edited, name)
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


def _data(text: str, name: str) -> dict[str, Any]:
    document, problems = parse(text, Document(name), empty=True)
    if problems:
        raise Unusable(problems[0])
    data: Any = copy.deepcopy(document.data)  # an alias is the same object as its anchor
    return data  # type: ignore[no-any-return]  # parse accepts nothing else


def _refusal(name: str, type_: str, count: int) -> DynoctlError:
    return DynoctlError(
        f"cannot set {type_} to {count} in {name} without changing something else", f"edit {name} by hand"
    )


def _set(text: str, type_: str, count: int, entry: str, name: str) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)  # its marks are in characters, not bytes
    if not isinstance(root, yaml.MappingNode):  # the overlay has only comments
        return _append(text, "", f"{type_}: {entry}")
    uses = _uses(root)
    dynos = _value(root, "dynos")
    if dynos is None:
        return _add_dynos(text, root, f"{type_}: {entry}")
    types = _mapping(dynos, uses, "dynos", name)
    node = _value(types, type_)
    if node is None:
        return _insert(text, types, f"{type_}: {entry}")
    if isinstance(node, yaml.ScalarNode):
        return _replace(text, node, uses, count, type_, name)
    settings = _mapping(node, uses, type_, name)
    number = _value(settings, "count")
    if number is None:
        return _insert(text, settings, f"count: {count}")
    return _replace(text, number, uses, count, type_, name)


def _uses(root: yaml.Node) -> Counter[int]:
    """How often each node is used: more than once if it has an alias."""
    uses: Counter[int] = Counter()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        uses[id(node)] += 1
        if uses[id(node)] > 1:
            continue
        if isinstance(node, yaml.MappingNode):
            waiting += [child for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
    return uses


def _value(mapping: yaml.MappingNode, key: str) -> yaml.Node | None:
    """The value of a key that is in the mapping itself, not merged into it."""
    pairs = ((name, value) for name, value in mapping.value if isinstance(name, yaml.ScalarNode))
    return next((value for name, value in pairs if name.value == key), None)


def _mapping(node: yaml.Node, uses: Counter[int], key: str, name: str) -> yaml.MappingNode:
    _refuse_shared(node, uses, key, name)
    if not isinstance(node, yaml.MappingNode):
        mark = node.start_mark
        raise DynoctlError(
            f"{name}:{mark.line + 1}:{mark.column + 1}: {key} is not a mapping",
            f"remove {key}, or make it a mapping",
        )
    return node


def _refuse_shared(node: yaml.Node, uses: Counter[int], key: str, name: str) -> None:
    if uses[id(node)] > 1:
        mark = node.start_mark
        raise DynoctlError(
            f"{name}:{mark.line + 1}:{mark.column + 1}: {key} has an alias, so the change would affect other values",
            "replace the alias with a number, then run scale again",
        )


def _replace(text: str, node: yaml.Node, uses: Counter[int], count: int, type_: str, name: str) -> str:
    _refuse_shared(node, uses, f"the count of {type_}", name)
    start, end = node.start_mark.index, node.end_mark.index
    written = _NUMBER.fullmatch(text[start:end])
    if written is None:
        raise _refusal(name, type_, count)
    return text[: start + len(written[1])] + str(count) + text[end:]


def _insert(text: str, mapping: yaml.MappingNode, entry: str) -> str:
    """The text with ``entry`` as the first entry of a mapping, in the style of the mapping."""
    if not mapping.value:  # an empty mapping is a pair of braces
        at = mapping.end_mark.index - 1
        return text[:at] + entry + text[at:]
    first = mapping.value[0][0].start_mark
    gap = ", " if mapping.flow_style else _newline(text) + " " * first.column
    return text[: first.index] + entry + gap + text[first.index :]


def _add_dynos(text: str, root: yaml.MappingNode, entry: str) -> str:
    if root.flow_style or not root.value:
        return _insert(text, root, f"dynos: {{{entry}}}")
    return _append(text, " " * root.value[0][0].start_mark.column, entry)


def _append(text: str, indent: str, entry: str) -> str:
    newline = _newline(text)
    end = "" if not text or text.endswith(("\n", "\r")) else newline
    return f"{text}{end}{indent}dynos:{newline}{indent}  {entry}{newline}"


def _newline(text: str) -> str:
    """The line ending of the text."""
    found = _BREAK.search(text)
    return "\n" if found is None else found[0]
