"""Read YAML, TOML and JSON of other tools with limits; what cannot be read is a note with its line."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from stacks.sources.found import Note, shortened

LARGEST = 256 * 1024
"""Characters of a YAML or JSON file."""

LARGEST_TOML = 64 * 1024
"""Characters of a TOML file: the parser of the standard library is not linear for hostile ones."""

DEEPEST = 30
MOST = 20_000
"""Values of a file, with every alias counted again."""

Data = Any
Path = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ERB = re.compile(r"<%=?-?([^\n]{0,200}?)-?%>")
_VARIABLE = re.compile(r"""\s*ENV(?:\[\s*["'](\w{1,80})["']\s*\]|\.fetch\(\s*["'](\w{1,80})["']\s*\))\s*""")

COMPUTED = "\ue000"
"""The first character of a text that an ERB tag computes. The name of a variable follows if it is ENV["NAME"]."""


@dataclass(frozen=True)
class Document:
    """A file as values of Python, with the lines of its keys and list entries. ``data`` is None if it is unusable."""

    file: str
    data: Data = None
    lines: Mapping[Path, int] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()

    def note(self, text: str, *path: str | int) -> Note:
        """A note at the line of a path, or of the closest path above it."""
        while path and path not in self.lines:
            path = path[:-1]
        return Note(text, self.file, self.lines.get(path, 0))


class _Unusable(Exception):
    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


def from_yaml(file: str, text: str, *, erb: bool = False) -> Document:
    """A YAML file whose top level is a mapping. With ``erb``, its tags are replaced by ``COMPUTED``, never run."""
    notes: tuple[Note, ...] = ()
    if len(text) > LARGEST:
        return _unusable(file, 0, f"larger than {LARGEST // 1024} KiB")
    if erb:
        text = _ERB.sub(_computed, text)
    lines: dict[Path, int] = {}
    try:
        _refuse_depth(text)
        node = yaml.compose(text, Loader=_LOADER)
        data = None if node is None else _Builder(lines).build(node, (), 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = re.sub(r"(alias|anchor|tag)\b.*", r"\1", error.problem or "cannot be parsed", flags=re.DOTALL)
        return _unusable(file, 0 if mark is None else mark.line + 1, f"invalid YAML: {shortened(problem)}")
    except yaml.YAMLError:
        return _unusable(file, 0, "invalid YAML: a control character, or an unknown encoding")
    except _Unusable as error:
        return _unusable(file, error.line, str(error))
    if not isinstance(data, dict):
        return _unusable(file, 1, "not a mapping")
    return Document(file, data, lines, notes)


def from_toml(file: str, text: str) -> Document:
    """A TOML file. The lines are those of the first key with the name of a path's last part."""
    if len(text) > LARGEST_TOML:
        return _unusable(file, 0, f"larger than {LARGEST_TOML // 1024} KiB")
    for number, line in enumerate(text.splitlines(), 1):
        if line.partition("=")[0].count(".") > DEEPEST:
            return _unusable(file, number, f"a key of more than {DEEPEST} parts")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+)", str(error))
        problem = re.sub(r" \(at .*", "", str(error), flags=re.DOTALL)
        return _unusable(file, int(at[1]) if at else 0, f"invalid TOML: {shortened(problem)}")
    except (RecursionError, ValueError):
        return _unusable(file, 0, "invalid TOML: nested too deeply, or a number that is too long")
    lines: dict[Path, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        key = re.match(r"""["']?([\w.-]+)["']?\s*(?:\]|=)""", line[:200].lstrip(" \t["))
        if key:
            lines.setdefault((key[1],), number)
            lines.setdefault((key[1].partition(".")[0],), number)
    return Document(file, data, lines)


def from_json(file: str, text: str) -> Document:
    """A JSON file. Only the lines of top-level keys, and of keys with a unique name, are known."""
    if len(text) > LARGEST:
        return _unusable(file, 0, f"larger than {LARGEST // 1024} KiB")
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        return _unusable(file, error.lineno, f"invalid JSON: {shortened(error.msg)}")
    except (RecursionError, ValueError):
        return _unusable(file, 0, "invalid JSON: nested too deeply, or a number that is too long")
    lines: dict[Path, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        key = re.match(r"""[\s{]*"([^"\\]{1,100})"\s*:""", line[:200])
        if key:
            lines.setdefault((key[1],), number)
    return Document(file, data, lines)


def mapping(value: Data) -> dict[str, Data]:
    """The value if it is a mapping, else {}."""
    return {str(key): entry for key, entry in value.items()} if isinstance(value, dict) else {}


def listed(value: Data) -> list[Data]:
    """The value if it is a list, else [] for None, and a list of it for anything else."""
    return value if isinstance(value, list) else [] if value is None else [value]


def text_of(value: Data) -> str:
    """A scalar as text: true and false as in YAML, "" for None, a list or a mapping."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).replace("\0", "") if isinstance(value, str | int | float) else ""


def computed(value: Data) -> str | None:
    """The variable that an ERB tag reads, "" if it computes anything else; None if the value is as it is written."""
    if not isinstance(value, str) or COMPUTED not in value:
        return None
    return value[1:] if value.startswith(COMPUTED) and re.fullmatch(r"\w+", value[1:]) else ""


def _computed(match: re.Match[str]) -> str:
    if not match[0].startswith("<%="):
        return ""
    variable = _VARIABLE.fullmatch(match[1])
    return f"{COMPUTED}{variable[1] or variable[2]}" if variable else COMPUTED


def _unusable(file: str, line: int, why: str) -> Document:
    return Document(file, None, {}, (Note(f"not read: {why}", file, line),))


def _refuse_depth(text: str) -> None:
    """Parsing events needs no recursion, composing nodes does."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                line = 0 if event.start_mark is None else event.start_mark.line + 1
                raise _Unusable(line, f"nested deeper than {DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Builder:
    """Builds values from nodes. Aliases are followed, and what they repeat counts against the limit."""

    def __init__(self, lines: dict[Path, int]) -> None:
        self._lines = lines
        self._count = 0

    def build(self, node: yaml.Node, path: Path, depth: int) -> Data:
        self._count += 1
        line = node.start_mark.line + 1
        if self._count > MOST or depth > 2 * DEEPEST:
            raise _Unusable(line, f"more than {MOST} values, or an alias inside its own anchor")
        self._lines.setdefault(path, line)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Data]:
        found: dict[str, Data] = {}
        merges: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                merges += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            elif isinstance(key_node, yaml.ScalarNode):
                self._lines.setdefault((*path, key_node.value), key_node.start_mark.line + 1)
                found[key_node.value] = self.build(value_node, (*path, key_node.value), depth + 1)
        for merge in merges:
            if isinstance(merge, yaml.MappingNode):
                found = {**self.build(merge, path, depth + 1), **found}
        return found


def _scalar(node: yaml.Node) -> Data:
    text = str(node.value)
    if node.tag == "tag:yaml.org,2002:null":
        return None
    if node.tag == "tag:yaml.org,2002:bool":
        return text.lower() in ("true", "yes", "on")
    if node.tag == "tag:yaml.org,2002:int" and re.fullmatch(r"[-+]?(0|[1-9]\d{0,11})", text):
        return int(text)
    if node.tag == "tag:yaml.org,2002:float" and re.fullmatch(r"[-+]?\d{1,10}\.\d{0,6}", text):
        return float(text)
    return text
