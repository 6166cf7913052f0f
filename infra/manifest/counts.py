"""Edits the number of dynos in a manifest's text: those characters and no other, or it refuses."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml

from infra.errors import DynoctlError
from infra.manifest.document import Document
from infra.manifest.load import Unusable, parse

_NUMBER = re.compile(r"((?:[&!]\S*\s+)*)([-+]?[0-9]+)")
"""A whole number as it is written, after an anchor or a tag."""

_BREAK = re.compile(r"\r\n|\n|\r")


def recount(data: Any, counts: Mapping[str, int]) -> None:
    """Set counts of types that there are, in place, in a manifest's data."""
    dynos = data.get("dynos") if isinstance(data, dict) else None
    if not isinstance(dynos, dict):
        return
    for type_, count in counts.items():
        if type_ in dynos:
            value = dynos[type_]
            dynos[type_] = {**value, "count": count} if isinstance(value, dict) else count


def edit(text: str, counts: Mapping[str, int], dynos: Mapping[str, Any], name: str) -> str:
    """The text of the file ``name`` with other counts. ``dynos`` are those of the merged manifest, of which the file is
    the uppermost: what it does not say of a type itself it says then.

    Raises DynoctlError where a count cannot be changed alone."""
    for type_, count in counts.items():
        whole = isinstance(dynos[type_], dict)
        try:
            edited = _set(text, type_, count, f"{{count: {count}}}" if whole else str(count), name)
            before, after = _data(text, name), _data(edited, name)
        except (yaml.YAMLError, Unusable):
            raise _refusal(name, type_, count) from None
        mine = before.setdefault("dynos", {})
        if type_ in mine:
            recount(before, {type_: count})
        else:
            mine[type_] = {"count": count} if whole else count
        if after != before:
            raise _refusal(name, type_, count)
        text = edited
    return text


def _data(text: str, name: str) -> dict[str, Any]:
    document, problems = parse(text, Document(name), empty=True)
    if problems:
        raise Unusable(problems[0])
    data: Any = copy.deepcopy(document.data)  # an alias is the same value twice
    return data  # type: ignore[no-any-return]  # parse lets nothing else through


def _refusal(name: str, type_: str, count: int) -> DynoctlError:
    return DynoctlError(
        f"The count of {type_} in {name} cannot be changed without changing more", f"Write {count} there by hand."
    )


def _set(text: str, type_: str, count: int, entry: str, name: str) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)  # its marks count characters
    if not isinstance(root, yaml.MappingNode):  # an overlay of nothing but comments
        return _append(text, "", f"{type_}: {entry}")
    uses = _uses(root)
    dynos = _value(root, "dynos")
    if dynos is None:
        return _add_dynos(text, root, f"{type_}: {entry}")
    here = _own(dynos, uses, "dynos", name)
    node = _value(here, type_)
    if node is None:
        return _insert(text, here, f"{type_}: {entry}")
    if isinstance(node, yaml.ScalarNode):
        return _replace(text, node, uses, count, type_, name)
    own = _own(node, uses, type_, name)
    number = _value(own, "count")
    if number is None:
        return _insert(text, own, f"count: {count}")
    return _replace(text, number, uses, count, type_, name)


def _uses(root: yaml.Node) -> Counter[int]:
    """How often each node is used: one that has an alias is used more than once."""
    uses: Counter[int] = Counter()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        uses[id(node)] += 1
        if uses[id(node)] > 1:
            continue
        if isinstance(node, yaml.MappingNode):
            waiting += [one for pair in node.value for one in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
    return uses


def _value(mapping: yaml.MappingNode, key: str) -> yaml.Node | None:
    """What a mapping itself says, and not what is merged into it."""
    return next((value for one, value in mapping.value if isinstance(one, yaml.ScalarNode) and one.value == key), None)


def _own(node: yaml.Node, uses: Counter[int], what: str, name: str) -> yaml.MappingNode:
    _refuse_shared(node, uses, what, name)
    if not isinstance(node, yaml.MappingNode):
        mark = node.start_mark
        raise DynoctlError(
            f"{name}:{mark.line + 1}:{mark.column + 1}: {what} is no mapping there",
            "Take it out, or say something in it.",
        )
    return node


def _refuse_shared(node: yaml.Node, uses: Counter[int], what: str, name: str) -> None:
    if uses[id(node)] > 1:
        mark = node.start_mark
        raise DynoctlError(
            f"{name}:{mark.line + 1}:{mark.column + 1}: {what} has an alias, so changing it would change more",
            "Write the number where the alias stands, then scale again.",
        )


def _replace(text: str, node: yaml.Node, uses: Counter[int], count: int, type_: str, name: str) -> str:
    _refuse_shared(node, uses, f"the count of {type_}", name)
    start, end = node.start_mark.index, node.end_mark.index
    written = _NUMBER.fullmatch(text[start:end])
    if written is None:
        raise _refusal(name, type_, count)
    return text[: start + len(written[1])] + str(count) + text[end:]


def _insert(text: str, mapping: yaml.MappingNode, entry: str) -> str:
    """``entry`` as the first one of a mapping, in the mapping's own style."""
    if not mapping.value:  # only a pair of braces is one
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
    """How the text ends its lines."""
    found = _BREAK.search(text)
    return "\n" if found is None else found[0]
