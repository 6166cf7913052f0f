"""Build the values of a YAML document from its nodes, with positions: strict scalars, no tags, limited aliases."""

from __future__ import annotations

import yaml

from infra.errors import Diagnostic
from infra.manifest import masking, tags
from infra.manifest.document import Document, Mark, Path, masked
from infra.manifest.model import Json
from infra.manifest.scalars import scalar

MOST = 20_000
"""Maximum number of values after all aliases are expanded: an alias bomb has millions."""

_SHORT = 5
"""Characters of a key such as ``8080`` or ``true``, which is no string and no secret."""

_CORE_NAMES = ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "seq", "map")
_CORE = {f"tag:yaml.org,2002:{name}" for name in _CORE_NAMES}


class Unusable(Exception):
    """The file cannot be read as YAML. ``diagnostic`` says why."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.summary)
        self.diagnostic = diagnostic


def at(document: Document, mark: Mark, summary: str, expected: str = "", hint: str = "") -> Diagnostic:
    return Diagnostic(summary, location=document.location(mark), expected=expected, hint=hint)


def unusable(document: Document, mark: Mark, summary: str, expected: str = "", hint: str = "") -> Unusable:
    """The error of a document whose secrets are not known, as it was not built: what may be one is masked."""
    document.secrets += masking.unparsed(document, mark.line)
    return Unusable(at(document, mark, summary, expected, hint))


def mark_of(node: yaml.Node) -> Mark:
    start, end = node.start_mark, node.end_mark
    return Mark(start.line, start.column, end.column - start.column if end.line == start.line else 1)


class Builder:
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
            Diagnostic(masked(summary), masked("/".join(map(str, path))), at(mark), hint=hint)
            for summary, path, mark, hint in self._found
        ]

    def build(self, node: yaml.Node, path: Path) -> Json:
        self._count += 1
        if self._count > MOST:
            raise unusable(
                self._document,
                mark_of(node),
                f"the aliases expand to more than {MOST} values",
                hint="use fewer aliases",
            )
        self._document.values.setdefault(path, mark_of(node))
        self._document.ends.setdefault(path, (node.end_mark.line, node.end_mark.column))
        if node.tag not in _CORE:
            shown, hint = tags.explain(node.tag, path)
            self._unread(path, node, f"the tag{f' {shown}' if shown else ''} is not allowed", hint=hint)
            return None
        if isinstance(node, yaml.ScalarNode):
            if any("\ud800" <= character <= "\udfff" for character in node.value):  # only some loaders reject them
                self._unread(path, node, "invalid character: an unpaired surrogate", hint="remove it")
                return None
            # Paths, variables and arguments cannot contain a NUL; arguments of a middleware can.
            if "\0" in node.value and path[:1] != ("middleware",):
                self._unread(path, node, "the value contains a NUL character", hint="remove it")
                return None
            self._document.scalars[path] = node.value
            return scalar(node)
        if id(node) in self._open:
            raise unusable(self._document, mark_of(node), "an alias is inside its own anchor", hint="remove the alias")
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
            if isinstance(key_node, yaml.MappingNode) and key_node.flow_style:  # {{ NAME }}
                raise unusable(
                    self._document,
                    mark_of(node),
                    "{{ ... }} is a template, and a manifest has none",
                    hint="write the value itself, or a reference such as {from_env: NAME}",
                )
            key = scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                short = isinstance(key_node, yaml.ScalarNode) and len(key_node.value) <= _SHORT
                self._hide(value_node if short else key_node, value_node)
                self._problem(path, mark_of(key_node), "the key is not a string", hint="quote the key")
                continue
            key_path = (*path, key)
            if key in lines:
                hidden = masking.is_hidden(path) or masking.is_value_as_name(key_path)
                if hidden or masking.may_be_secret(key_path):
                    self._hide(key_node if hidden else value_node, value_node)
                self._problem(
                    path if hidden else key_path,
                    mark_of(key_node),
                    "duplicate key" if hidden else f"duplicate key {key!r}",
                    hint=f"remove it here or on line {lines[key]}",
                )
                continue
            lines[key] = key_node.start_mark.line + 1
            self._document.keys[key_path] = mark_of(key_node)
            found[key] = self.build(value_node, key_path)
        for merged in merges:
            if not isinstance(merged, yaml.MappingNode):
                self._hide(merged, merged)
                self._problem(
                    path,
                    mark_of(merged),
                    "<< can only merge mappings",
                    hint="use an alias of a mapping"
                    if merged.tag in _CORE
                    else "to merge another manifest: extends: FILE, as a key of the top level",
                )
                continue
            for key, value in self._merged(merged, path).items():
                found.setdefault(key, value)
        return found

    def _merged(self, node: yaml.Node, path: Path) -> dict[str, Json]:
        if id(node) in self._open:
            raise unusable(self._document, mark_of(node), "an alias is inside its own anchor", hint="remove the alias")
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

    def _hide(self, first: yaml.Node, last: yaml.Node) -> None:
        """Mask what has no path, from one node to another: nobody can tell what it is."""
        end = (last.end_mark.line, last.end_mark.column)
        self._document.secrets += masking.span(self._document, mark_of(first), end)

    def _unread(self, path: Path, node: yaml.Node, summary: str, hint: str) -> None:
        """An error of a value that is None in the data, as if it were empty."""
        self._document.unread.add(path)
        self._problem(path, mark_of(node), summary, hint)

    def _problem(self, path: Path, mark: Mark, summary: str, hint: str = "") -> None:
        self._found.append((summary, path, mark, hint))
