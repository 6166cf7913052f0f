"""Read a YAML file safely: strict scalars, no tags, no duplicate keys, limited expansion, and source positions."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path as File
from typing import Any

import yaml

from infra.errors import Diagnostic, Location
from infra.manifest import masking
from infra.manifest.document import Document, Mark, Path
from infra.manifest.files import read_regular
from infra.manifest.model import Json
from infra.manifest.scalars import scalar
from schemas import load as schema

LARGEST = 1 << 20
"""Maximum size of a file, in bytes."""

DEEPEST = 40
"""Maximum depth of nesting."""

MOST = 20_000
"""Maximum number of values after all aliases are expanded: an alias bomb has millions."""

_TOP_LEVEL = "a mapping that starts with version: 1"
_TOP_LEVEL_KEYS = "a mapping with keys of a manifest, such as servers: or env:"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE_NAMES = ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "seq", "map")
_CORE = {f"tag:yaml.org,2002:{name}" for name in _CORE_NAMES}


class Unusable(Exception):
    """The file cannot be read as YAML. ``diagnostic`` says why."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.summary)
        self.diagnostic = diagnostic


def load(file: File, *, empty: bool = False, extended: bool = False) -> tuple[Document, list[Diagnostic]]:
    """The document in a file, and its YAML errors (duplicate keys, tags).

    ``extended``: the manifest names the file and not the user, so its lines are shown only if it is a manifest.
    Raises Unusable, also for an empty file unless ``empty`` is true."""
    document = Document(str(file))
    text = _text(file, document)
    lines = text.splitlines()
    if extended and not _comments_only(lines) and not any(_key(line) in _keys() for line in lines):
        raise Unusable(
            Diagnostic(f"{file} is not a manifest", location=Location(document.file, 1, 1), expected=_TOP_LEVEL_KEYS)
        )
    return parse(text, document, empty=empty)


def _comments_only(lines: list[str]) -> bool:
    return all(line.lstrip()[:1] in ("", "#") for line in lines)


@cache
def _keys() -> frozenset[str]:
    return frozenset(schema("dyno.schema.json")["properties"])


def _key(line: str) -> str:
    """The key of the top level that a line starts with, or ""."""
    found = re.match(r"""(?:\{\s*)?["']?([a-z_]+)["']?\s*:(?:\s|$)""", line)
    return found[1] if found else ""


def parse(text: str, document: Document, *, empty: bool = False) -> tuple[Document, list[Diagnostic]]:
    """As ``load``, for a text. ``document`` holds the name of the file and is filled in. Raises Unusable."""
    document.lines = text.splitlines()
    if empty and _comments_only(document.lines):
        document.data = {}
        return document, []
    if not text.strip():
        raise Unusable(Diagnostic("the file is empty", location=Location(document.file, 1, 1), expected=_TOP_LEVEL))
    node = _compose(text, document)
    builder = _Builder(document)
    document.data = builder.build(node, ())
    document.secrets += masking.marks(document)
    return document, builder.problems()


def _text(file: File, document: Document) -> str:
    start = Location(document.file, 1, 1)
    try:
        if file.is_dir():
            raise Unusable(Diagnostic(f"{file} is a directory", location=start, hint="specify a file: -f dyno.yaml"))
        data = read_regular(file, LARGEST)
    except FileNotFoundError:
        raise Unusable(
            Diagnostic(
                f"{file} not found",
                location=start,
                hint="run dynoctl in the directory of the manifest, or specify the file: -f FILE",
            )
        ) from None
    except OSError as error:
        raise Unusable(Diagnostic(f"cannot read {file}: {error.strerror}", location=start)) from None
    document.sha256 = hashlib.sha256(data).hexdigest()
    if len(data) > LARGEST:
        raise Unusable(Diagnostic("the file is larger than 1 MiB", location=start, expected="at most 1 MiB"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start)
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1)
        raise Unusable(
            Diagnostic(
                f"invalid UTF-8: byte 0x{data[error.start]:02x}",
                location=Location(document.file, line + 1, column + 1),
                hint="save the file as UTF-8",
            )
        ) from None
    return text


def _compose(text: str, document: Document) -> yaml.Node:
    try:
        _refuse_depth(text, document)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = Mark(mark.line, mark.column) if mark is not None else Mark(0, 0)
        problem = (error.problem or "cannot be parsed").strip()
        if "expected a single document" in (error.context or "") + problem:
            raise Unusable(
                _at(document, position, "the file contains several documents", "one document", "remove the line ---")
            ) from None
        hint = ""
        document.secrets += masking.unparsed(document, position.line)
        # The name of an alias, an anchor or a tag may be a secret that starts with *, & or !.
        problem = re.sub(r"(alias|anchor|tag handle)\b.*", r"\1", problem, flags=re.DOTALL)
        if position.line < len(document.lines) and "\t" in document.lines[position.line]:
            hint = "replace the tab on this line: YAML is indented with spaces"
        raise Unusable(_at(document, position, f"invalid YAML: {problem}", hint=hint)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        raise Unusable(
            _at(document, Mark(line, 0), "the file contains a control character", hint="remove it")
        ) from None
    except yaml.YAMLError as error:
        raise Unusable(_at(document, Mark(0, 0), f"invalid YAML: {error}")) from None
    if node is None:
        raise Unusable(_at(document, Mark(0, 0), "the file is empty", _TOP_LEVEL))
    if not isinstance(node, yaml.MappingNode):
        raise Unusable(_at(document, _mark(node), "the top level of the file is not a mapping", _TOP_LEVEL))
    return node


def _refuse_depth(text: str, document: Document) -> None:
    """Refuse deep nesting before it is composed: parsing events needs no recursion, composing nodes does."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                mark = event.start_mark
                position = Mark(0, 0) if mark is None else Mark(mark.line, mark.column)
                raise Unusable(_at(document, position, f"nested deeper than {DEEPEST} levels", hint="use fewer levels"))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _at(document: Document, mark: Mark, summary: str, expected: str = "", hint: str = "") -> Diagnostic:
    return Diagnostic(summary, location=document.location(mark), expected=expected, hint=hint)


def _mark(node: yaml.Node) -> Mark:
    start, end = node.start_mark, node.end_mark
    return Mark(start.line, start.column, end.column - start.column if end.line == start.line else 1)


class _Builder:
    """Builds values from the graph of nodes, and collects their positions and the errors."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._count = 0
        self._open: set[int] = set()
        self._found: list[tuple[str, Path, Mark, str]] = []

    def problems(self) -> list[Diagnostic]:
        """The errors. Call it after ``build``: only then are all secrets known that must be masked."""
        at = self._document.location
        return [
            Diagnostic(summary, "/".join(map(str, path)), at(mark), hint=hint)
            for summary, path, mark, hint in self._found
        ]

    def build(self, node: yaml.Node, path: Path) -> Json:
        self._count += 1
        if self._count > MOST:
            raise Unusable(
                _at(
                    self._document,
                    _mark(node),
                    f"the aliases expand to more than {MOST} values",
                    hint="use fewer aliases",
                )
            )
        self._document.values.setdefault(path, _mark(node))
        self._document.ends.setdefault(path, (node.end_mark.line, node.end_mark.column))
        if node.tag not in _CORE:
            self._problem(
                path,
                _mark(node),
                f"the tag{'' if masking.is_hidden(path) else f' {_short(node.tag)}'} is not allowed",
                hint="remove the tag",
            )
            return None
        if isinstance(node, yaml.ScalarNode):
            if any("\ud800" <= character <= "\udfff" for character in node.value):  # only some loaders reject them
                self._problem(path, _mark(node), "invalid character: an unpaired surrogate", hint="remove it")
                return None
            # Paths, variables and arguments cannot contain a NUL; arguments of a middleware can.
            if "\0" in node.value and path[:1] != ("middleware",):
                self._problem(path, _mark(node), "the value contains a NUL character", hint="remove it")
                return None
            self._document.scalars[path] = node.value
            return scalar(node)
        if id(node) in self._open:
            raise Unusable(
                _at(self._document, _mark(node), "an alias is inside its own anchor", hint="remove the alias")
            )
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.Node, path: Path) -> dict[str, Json]:
        found: dict[str, Json] = {}
        merges: list[yaml.Node] = []
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                merges += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            key = scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                self._problem(path, _mark(key_node), "the key is not a string", hint="quote the key")
                continue
            key_path = (*path, key)
            if key in lines:
                hidden = masking.is_hidden(path)
                if hidden or masking.is_hidden(key_path):
                    end = (value_node.end_mark.line, value_node.end_mark.column)
                    start = _mark(key_node if hidden else value_node)
                    self._document.secrets += masking.span(self._document, start, end)
                self._problem(
                    path if hidden else key_path,
                    _mark(key_node),
                    "duplicate key" if hidden else f"duplicate key {key!r}",
                    hint=f"remove it here or on line {lines[key]}",
                )
                continue
            lines[key] = key_node.start_mark.line + 1
            self._document.keys[key_path] = _mark(key_node)
            found[key] = self.build(value_node, key_path)
        for merged in merges:
            if not isinstance(merged, yaml.MappingNode):
                if path[:1] in (("env",), ("credentials",)) or masking.is_hidden(path):
                    end = (merged.end_mark.line, merged.end_mark.column)
                    self._document.secrets += masking.span(self._document, _mark(merged), end)
                self._problem(
                    path,
                    _mark(merged),
                    "<< can only merge mappings",
                    hint="use an alias of a mapping",
                )
                continue
            for key, value in self._merged(merged, path).items():
                found.setdefault(key, value)
        return found

    def _merged(self, node: yaml.Node, path: Path) -> dict[str, Json]:
        if id(node) in self._open:
            raise Unusable(
                _at(self._document, _mark(node), "an alias is inside its own anchor", hint="remove the alias")
            )
        self._open.add(id(node))
        # The positions of merged keys must not replace those of the mapping's own keys.
        keys, values, scalars = self._document.keys, self._document.values, self._document.scalars
        self._document.keys, self._document.values, self._document.scalars = {}, {}, {}
        try:
            return self._mapping(node, path)
        finally:
            for own, merged in ((keys, self._document.keys), (values, self._document.values)):
                for merged_path, mark in merged.items():
                    own.setdefault(merged_path, mark)
            for merged_path, text in self._document.scalars.items():
                scalars.setdefault(merged_path, text)
            self._document.keys, self._document.values, self._document.scalars = keys, values, scalars
            self._open.discard(id(node))

    def _problem(self, path: Path, mark: Mark, summary: str, hint: str = "") -> None:
        self._found.append((summary, path, mark, hint))


def _short(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")
