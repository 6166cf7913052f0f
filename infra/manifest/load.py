"""Read a YAML file safely: own scalars, no tags, no duplicate keys, no bombs; every value with its position."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path as File
from typing import Any

import yaml

from infra.errors import Diagnostic, Location
from infra.manifest.document import Document, Mark, Path
from infra.manifest.model import Json
from infra.manifest.urls import SECRET, is_secret

LARGEST = 1 << 20
"""Bytes. A manifest is written by people."""

DEEPEST = 40
MOST = 20_000
"""Values after every alias is expanded: a bomb has millions."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_TRUE, _FALSE, _NULL = (
    {"true", "True", "TRUE"},
    {"false", "False", "FALSE"},
    {"", "~", "null", "Null", "NULL"},
)
_SECRET_WORD = re.compile("|".join(sorted(SECRET)), re.IGNORECASE)
_CORE_NAMES = ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "seq", "map")
_CORE = {f"tag:yaml.org,2002:{name}" for name in _CORE_NAMES}


class Unusable(Exception):
    """The file cannot be read as YAML at all; carries the one diagnostic that says why."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.summary)
        self.diagnostic = diagnostic


def load(file: File, *, empty: bool = False) -> tuple[Document, list[Diagnostic]]:
    """The document and what is wrong with it as YAML (duplicate keys, tags). Raises Unusable; where it may not be
    ``empty``, for that, too."""
    document = Document(str(file))
    return parse(_text(file, document), document, empty=empty)


def parse(text: str, document: Document, *, empty: bool = False) -> tuple[Document, list[Diagnostic]]:
    """The same for a text; ``document`` has its name, and gets the rest. Raises Unusable."""
    document.lines = text.splitlines()
    if empty and all(line.lstrip()[:1] in ("", "#") for line in document.lines):
        document.data = {}
        return document, []
    if not text.strip():
        raise Unusable(
            Diagnostic(
                "the file is empty",
                location=Location(document.file, 1, 1),
                expected="a mapping that starts with version: 1",
            )
        )
    node = _compose(text, document)
    builder = _Builder(document)
    document.data = builder.build(node, ())
    document.secrets += [mark for path, mark in document.values.items() if _may_be_secret(path, document)]
    return document, builder.problems()


def _may_be_secret(path: Path, document: Document) -> bool:
    """Any value under env may be a secret that somebody wrote down, and a password is; a reference's name is none."""
    if not path or path not in document.scalars or any(str(part).startswith("from_") for part in path):
        return False
    return path[0] == "env" or any(is_secret(str(part)) for part in path)


def _text(file: File, document: Document) -> str:
    place = Location(document.file, 1, 1)
    try:
        if file.is_dir():
            raise Unusable(Diagnostic(f"{file} is a directory", location=place, hint="Name the file: -f dyno.yaml"))
        with file.open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except FileNotFoundError:
        raise Unusable(
            Diagnostic(
                f"there is no {file}",
                location=place,
                hint="Run in the directory that holds it, or name it: -f FILE",
            )
        ) from None
    except OSError as error:
        raise Unusable(Diagnostic(f"{file} cannot be read: {error.strerror}", location=place)) from None
    document.sha256 = hashlib.sha256(data).hexdigest()
    if len(data) > LARGEST:
        raise Unusable(Diagnostic("the file is larger than 1 MiB", location=place, expected="a manifest, not data"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start)
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1)
        raise Unusable(
            Diagnostic(
                f"byte 0x{data[error.start]:02x} is not UTF-8",
                location=Location(document.file, line + 1, column + 1),
                hint="Save the file as UTF-8.",
            )
        ) from None
    return text


def _compose(text: str, document: Document) -> yaml.Node:
    try:
        _refuse_depth(text, document)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        here = Mark(mark.line, mark.column) if mark is not None else Mark(0, 0)
        problem = (error.problem or "it cannot be read").strip()
        if "expected a single document" in (error.context or "") + problem:
            raise Unusable(
                _at(document, here, "the file holds several documents", "one document", "Remove the line ---.")
            ) from None
        hint = ""
        _hide_environment(document, here.line)
        if here.line < len(document.lines) and "\t" in document.lines[here.line]:
            hint = "There is a tab on this line; YAML indents with spaces."
        raise Unusable(_at(document, here, f"this is not YAML: {problem}", hint=hint)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        raise Unusable(_at(document, Mark(line, 0), "the file holds a control character", hint="Remove it.")) from None
    except yaml.YAMLError as error:
        raise Unusable(_at(document, Mark(0, 0), f"this is not YAML: {error}")) from None
    if node is None:
        raise Unusable(_at(document, Mark(0, 0), "the file is empty", "a mapping that starts with version: 1"))
    if not isinstance(node, yaml.MappingNode):
        raise Unusable(
            _at(
                document,
                _mark(node),
                "the file does not hold a mapping at its top",
                "a mapping that starts with version: 1",
            )
        )
    return node


def _hide_environment(document: Document, line: int) -> None:
    """Where a document cannot be read, nobody knows yet what is secret: a value below ``env`` is taken for one."""
    text = document.lines[line] if line < len(document.lines) else ""
    above = [one for one in document.lines[: line + 1] if one.strip() and not one[0].isspace()]
    start = text.find(":") + 1
    if (above and above[-1].startswith(("env:", '"env"', "'env'"))) or _SECRET_WORD.search(text):
        document.secrets.append(Mark(line, start, len(text) - start))


def _refuse_depth(text: str, document: Document) -> None:
    """Events come without recursion, so a tower of brackets ends here and not in a stack overflow."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                mark = event.start_mark
                where = Mark(0, 0) if mark is None else Mark(mark.line, mark.column)
                raise Unusable(_at(document, where, f"this is nested deeper than {DEEPEST} levels"))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _at(document: Document, mark: Mark, summary: str, expected: str = "", hint: str = "") -> Diagnostic:
    return Diagnostic(summary, location=document.location(mark), expected=expected, hint=hint)


def _mark(node: yaml.Node) -> Mark:
    start, end = node.start_mark, node.end_mark
    return Mark(start.line, start.column, end.column - start.column if end.line == start.line else 1)


class _Builder:
    """Turns the node graph into values, and notes what stands where."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._count = 0
        self._open: set[int] = set()
        self._found: list[tuple[str, Path, Mark, str]] = []

    def problems(self) -> list[Diagnostic]:
        """What is wrong. Asked for when all is built: only then it is known what must not be shown."""
        at = self._document.location
        return [
            Diagnostic(summary, "/".join(map(str, path)), at(mark), hint=hint)
            for summary, path, mark, hint in self._found
        ]

    def build(self, node: yaml.Node, path: Path) -> Json:
        self._count += 1
        if self._count > MOST:
            raise Unusable(_at(self._document, _mark(node), f"the aliases expand to more than {MOST} values"))
        self._document.values.setdefault(path, _mark(node))
        if node.tag not in _CORE:
            self._problem(path, _mark(node), f"the tag {_short(node.tag)} is not allowed", hint="Remove the tag.")
            return None
        if isinstance(node, yaml.ScalarNode):
            if any("\ud800" <= character <= "\udfff" for character in node.value):  # only some loaders refuse them
                self._problem(path, _mark(node), "half of a surrogate pair is no character", hint="Remove it.")
                return None
            # No path, variable or word of a command can hold one; what a middleware is given can.
            if "\0" in node.value and path[:1] != ("middleware",):
                self._problem(path, _mark(node), "a NUL character stands here", hint="Remove it.")
                return None
            self._document.scalars[path] = node.value
            return scalar(node)
        if id(node) in self._open:
            raise Unusable(_at(self._document, _mark(node), "an alias stands inside its own anchor"))
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
                self._problem(path, _mark(key_node), "this key is not a string", hint="Put it in quotes.")
                continue
            here = (*path, key)
            if key in lines:
                if path[:1] == ("env",) or is_secret(key):
                    self._document.secrets.append(_mark(value_node))
                self._problem(
                    here,
                    _mark(key_node),
                    f"{key} stands twice",
                    hint=f"The first one is on line {lines[key]}; keep one.",
                )
                continue
            lines[key] = key_node.start_mark.line + 1
            self._document.keys[here] = _mark(key_node)
            found[key] = self.build(value_node, here)
        for merged in merges:
            if not isinstance(merged, yaml.MappingNode):
                self._problem(
                    path,
                    _mark(merged),
                    "<< merges something that is no mapping",
                    hint="Merge an alias of a mapping.",
                )
                continue
            for key, value in self._merged(merged, path).items():
                found.setdefault(key, value)
        return found

    def _merged(self, node: yaml.Node, path: Path) -> dict[str, Json]:
        if id(node) in self._open:
            raise Unusable(_at(self._document, _mark(node), "an alias stands inside its own anchor"))
        self._open.add(id(node))
        # Positions of what is merged in never replace those of what stands here itself.
        keys, values, scalars = self._document.keys, self._document.values, self._document.scalars
        self._document.keys, self._document.values, self._document.scalars = {}, {}, {}
        try:
            return self._mapping(node, path)
        finally:
            for own, more in ((keys, self._document.keys), (values, self._document.values)):
                for place, mark in more.items():
                    own.setdefault(place, mark)
            for place, text in self._document.scalars.items():
                scalars.setdefault(place, text)
            self._document.keys, self._document.values, self._document.scalars = keys, values, scalars
            self._open.discard(id(node))

    def _problem(self, path: Path, mark: Mark, summary: str, hint: str = "") -> None:
        self._found.append((summary, path, mark, hint))


def scalar(node: yaml.ScalarNode) -> Json:
    """One scalar. Plain ``no``, ``010``, ``12:30`` and dates are what they look like to a person: strings."""
    text = node.value
    if node.style or node.tag == "tag:yaml.org,2002:str":
        return str(text)
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INT.fullmatch(text) and len(text) <= 20:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return str(text)


def _short(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")
