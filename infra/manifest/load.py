"""Read a YAML file safely: strict scalars, no tags, no duplicate keys, limited expansion, and source positions."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path as File
from typing import Any

import yaml

from infra.errors import Diagnostic, Location
from infra.manifest import masking, yaml_faults
from infra.manifest.document import Document, Mark
from infra.manifest.files import read_regular
from infra.manifest.missing import not_found
from infra.manifest.nodes import Builder, Unusable, mark_of, unusable
from infra.manifest.paths import is_directory, is_file
from schemas import load as schema

LARGEST = 1 << 20
"""Maximum size of a file, in bytes."""

DEEPEST = 40
"""Maximum depth of nesting."""

_TOP_LEVEL = "a mapping that starts with version: 1"
_START = "for a manifest to start with, rename this file, then: dynoctl init"
_TOP_LEVEL_KEYS = "a mapping with keys of a manifest, such as servers: or env:"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
        start = Location(document.file, 1, 1)
        raise Unusable(Diagnostic("the file is empty", location=start, expected=_TOP_LEVEL, hint=_START))
    node = _compose(text, document)
    builder = Builder(document)
    document.data = builder.build(node, ())
    if document.data is None:  # the whole has a tag, which is an error of its own
        document.data = {}
    document.secrets += masking.marks(document)
    return document, builder.problems()


def _text(file: File, document: Document) -> str:
    start = Location(document.file, 1, 1)
    try:
        if is_directory(file):
            inside = file / "dyno.yaml"
            hint = f"specify the file in it: -f {inside}" if is_file(inside) else "specify a file: -f FILE"
            raise Unusable(Diagnostic(f"{file} is a directory", hint=hint))
        data = read_regular(file, LARGEST)
    except FileNotFoundError:
        raise Unusable(not_found(file)) from None
    except OSError as error:
        hint = "a manifest must be a regular file that you may read: ls -l " + str(file)
        raise Unusable(Diagnostic(f"cannot read {file}: {error.strerror}", hint=hint)) from None
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
            summary = "the file contains several documents"
            raise unusable(document, position, summary, expected="one document", hint="remove the line ---") from None
        hint = ""
        fault = _fault(text, document, error, position)
        if fault is not None:
            found = Mark(fault.line, fault.column)
            raise unusable(document, found, f"invalid YAML: {fault.summary}", hint=fault.hint) from None
        # The name of an alias, an anchor or a tag may be a secret that starts with *, & or !.
        problem = re.sub(r"(alias|anchor|tag handle)\b.*", r"\1", problem, flags=re.DOTALL)
        if "alphabetic or numeric" in problem or "cannot start any token" in problem or "node content" in problem:
            problem = "a value with special characters is not quoted"
            hint = "put the value in quotes"
        if "alias" in problem:
            hint = "put the value in quotes, or define its anchor above: &NAME"
        if "escape" in problem or "hexdec" in problem:
            problem = "an unknown escape sequence in double quotes"
            hint = "in double quotes, write \\\\ for a backslash, or use single quotes"
        if position.line < len(document.lines) and "\t" in document.lines[position.line]:
            problem, hint = "a tab in place of spaces", "replace the tab on this line: YAML is indented with spaces"
        raise unusable(document, position, f"invalid YAML: {problem}", hint=hint) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        raise unusable(document, Mark(line, 0), "the file contains a control character", hint="remove it") from None
    except yaml.YAMLError as error:
        raise unusable(document, Mark(0, 0), f"invalid YAML: {type(error).__name__}") from None
    if node is None:
        raise unusable(document, Mark(0, 0), "the file is empty", expected=_TOP_LEVEL, hint=_START)
    if not isinstance(node, yaml.MappingNode):
        summary = "the top level of the file is not a mapping"
        raise unusable(document, mark_of(node), summary, expected=_TOP_LEVEL, hint=_START)
    return node


_OPENED = {"{": "}", "[": "]", '"': '"', "'": "'"}


def _fault(text: str, document: Document, error: yaml.MarkedYAMLError, position: Mark) -> yaml_faults.Fault | None:
    """What makes the text invalid, as far as it can be told; ``position`` is where the parser stopped."""
    if any("\t" in line[: len(line) - len(line.lstrip())] for line in document.lines[: position.line + 1]):
        return None  # YAML is not indented with tabs: the error names them
    if "undefined alias" in (error.problem or ""):
        return None  # the line is the right one
    unclosed = None
    start = error.context_mark
    if start is not None and re.search(r"flow (sequence|mapping)|quoted scalar", error.context or ""):
        opened = document.lines[start.line][start.column : start.column + 1] if start.line < len(document.lines) else ""
        if opened in _OPENED and not document.lines[start.line].rstrip().endswith(_OPENED[opened]):
            hint = f"add {_OPENED[opened]} at its end"
            unclosed = yaml_faults.Fault(start.line, start.column, f"{opened} without {_OPENED[opened]}", hint)

    def parses(changed: str) -> int | None:
        try:
            for _ in yaml.parse(changed, Loader=_LOADER):
                pass
        except yaml.MarkedYAMLError as problem:
            mark = problem.problem_mark or problem.context_mark
            return 0 if mark is None else int(mark.line)
        except yaml.YAMLError:
            return 0
        return None

    if unclosed is not None:
        comma = yaml_faults.find(document.lines, position.line, parses, yaml_faults.COMMAS)
        return unclosed if comma is None else comma
    return yaml_faults.find(document.lines, position.line, parses)


def _refuse_depth(text: str, document: Document) -> None:
    """Refuse deep nesting before it is composed: parsing events needs no recursion, composing nodes does."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                mark = event.start_mark
                position = Mark(0, 0) if mark is None else Mark(mark.line, mark.column)
                raise unusable(document, position, f"nested deeper than {DEEPEST} levels", hint="use fewer levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
