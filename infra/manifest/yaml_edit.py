"""Edits one entry of a mapping in the text of a YAML file, without changing any other character."""

from __future__ import annotations

import copy
import re
from collections import Counter
from typing import Any

import yaml

from infra.errors import DynoctlError
from infra.manifest.document import Document
from infra.manifest.load import parse
from infra.manifest.nodes import Unusable

_BREAK = re.compile(r"\r\n|\n|\r")


def data_of(text: str, name: str) -> dict[str, Any]:
    """The data of a manifest's text, in which no value is another one's alias. Raises Unusable; ``name`` is the file's,
    for its errors."""
    document, problems = parse(text, Document(name), empty=True)
    if problems:
        raise Unusable(problems[0])
    data: Any = copy.deepcopy(document.data)  # an alias is the same object as its anchor
    return data  # type: ignore[no-any-return]  # parse accepts nothing else


def compose(text: str) -> yaml.Node | None:
    """The nodes of a text, with marks in characters, not bytes. This parser refuses tabs that the one of manifests
    accepts, so if it does, it reads spaces in their place: who edits compares what the text says before and after."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        if "\t" not in text:
            raise
        node = yaml.compose(text.replace("\t", " "), Loader=yaml.SafeLoader)
    return node


def count_uses(root: yaml.Node) -> Counter[int]:
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


def pair_of(mapping: yaml.MappingNode, key: str) -> tuple[yaml.ScalarNode, yaml.Node] | None:
    """The key and the value of an entry that is in the mapping itself, not merged into it."""
    pairs = ((name, value) for name, value in mapping.value if isinstance(name, yaml.ScalarNode))
    return next(((name, value) for name, value in pairs if name.value == key), None)


def value_of(mapping: yaml.MappingNode, key: str) -> yaml.Node | None:
    """The value of a key that is in the mapping itself, not merged into it."""
    pair = pair_of(mapping, key)
    return None if pair is None else pair[1]


def as_mapping(node: yaml.Node, uses: Counter[int], key: str, name: str) -> yaml.MappingNode:
    """The node ``key`` of the file ``name`` as a mapping that is used once. Raises DynoctlError."""
    refuse_alias(node, uses, key, name)
    if not isinstance(node, yaml.MappingNode):
        mark = node.start_mark
        raise DynoctlError(
            f"{name}:{mark.line + 1}:{mark.column + 1}: {key} is not a mapping",
            f"remove {key}, or make it a mapping",
        )
    return node


def refuse_alias(node: yaml.Node, uses: Counter[int], key: str, name: str) -> None:
    """Raise DynoctlError for a node that has an alias."""
    if uses[id(node)] > 1:
        mark = node.start_mark
        raise DynoctlError(
            f"{name}:{mark.line + 1}:{mark.column + 1}: {key} has an alias, so the change would affect other values",
            "replace the alias with a value of its own, then run the command again",
        )


def insert_first(text: str, mapping: yaml.MappingNode, entry: str) -> str:
    """The text with ``entry`` as the first entry of a mapping, in the style of the mapping."""
    if not mapping.value:  # an empty mapping is a pair of braces
        at = mapping.end_mark.index - 1
        return text[:at] + entry + text[at:]
    first = mapping.value[0][0].start_mark
    gap = ", " if mapping.flow_style else line_ending(text) + " " * first.column
    return text[: first.index] + entry + gap + text[first.index :]


def insert_last(text: str, mapping: yaml.MappingNode, entry: str) -> str:
    """The text with ``entry`` as the last entry of a mapping; as the first one if the last value has several lines."""
    if not mapping.value:
        return insert_first(text, mapping, entry)
    key, value = mapping.value[-1]
    if value.start_mark.line != value.end_mark.line or value.end_mark.line != key.start_mark.line:
        return insert_first(text, mapping, entry)
    end = value.end_mark.index
    if mapping.flow_style:
        return f"{text[:end]}, {entry}{text[end:]}"
    rest = _BREAK.search(text, end)
    at = len(text) if rest is None else rest.start()
    return f"{text[:at]}{line_ending(text)}{' ' * key.start_mark.column}{entry}{text[at:]}"


def add_section(text: str, root: yaml.Node | None, section: str, entry: str) -> str:
    """The text with a new mapping ``section`` of the top level, which has one entry. ``root`` is None for a file that
    has only comments."""
    if isinstance(root, yaml.MappingNode) and (root.flow_style or not root.value):
        return insert_first(text, root, f"{section}: {{{entry}}}")
    indent = " " * root.value[0][0].start_mark.column if isinstance(root, yaml.MappingNode) else ""
    newline = line_ending(text)
    at = len(text) if root is None else root.end_mark.index
    if text[at : at + 3] != "...":  # the end of the document, if it is marked
        at = len(text)
    end = "" if at == 0 or text[at - 1] in "\r\n" else newline
    return f"{text[:at]}{end}{indent}{section}:{newline}{indent}  {entry}{newline}{text[at:]}"


def remove(text: str, mapping: yaml.MappingNode, key: str, owner: yaml.Node) -> str:
    """The text without an entry of a mapping. If it was the only one, the mapping becomes ``{}``, and the comment lines
    right above the entry go with it; ``owner`` is its key. All other comments stay, but for one on its line."""
    index = next(number for number, (name, _) in enumerate(mapping.value) if name.value == key)
    name, value = mapping.value[index]
    start, end = name.start_mark.index, value.end_mark.index
    if mapping.flow_style:
        if index + 1 < len(mapping.value):
            end = mapping.value[index + 1][0].start_mark.index
        elif index:
            start = mapping.value[index - 1][1].end_mark.index
        return text[:start] + text[end:]
    start = max(text.rfind("\n", 0, start), text.rfind("\r", 0, start)) + 1
    if end == 0 or text[end - 1] not in "\r\n":
        rest = _BREAK.search(text, end)
        end = len(text) if rest is None else rest.end()
    if len(mapping.value) == 1:
        colon = text.index(":", owner.end_mark.index) + 1
        above = text[colon:start].splitlines(keepends=True)
        while len(above) > 1 and above[-1].lstrip().startswith("#"):
            above.pop()
        return f"{text[:colon]} {{}}{''.join(above)}{text[end:]}"
    return text[:start] + text[end:]


def line_ending(text: str) -> str:
    """The line ending of the text."""
    found = _BREAK.search(text)
    return "\n" if found is None else found[0]
