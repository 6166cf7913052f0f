"""From the graph of nodes to plain values: aliases and merges expanded within limits, secrets marked."""

from __future__ import annotations

from infra.errors import Diagnostic
from infra.manifest import scalars
from infra.manifest.document import Document
from infra.manifest.model import Json
from infra.manifest.nodes import DEEPEST, Broken, Node
from infra.manifest.secrets import is_parked, is_secret, shown_key, shown_part
from infra.manifest.source import Path, Source, Span
from infra.manifest.wording import quoted

_UNSTORABLE = "A NUL character (or half of a surrogate pair) cannot stand in a manifest"

MOST = 50_000
"""Values once every alias is expanded. A bomb has millions."""


def construct(root: Node, source: Source) -> tuple[Document, list[Diagnostic]]:
    """The document, and what is wrong with it before anybody asks what it means.

    Raises Broken where aliases expand without end.
    """
    return _Constructor(source).run(root)


def as_written(path: Path) -> bool:
    """Whether a scalar at ``path`` is text whatever it looks like: 1.10 is a version there, not 1.1."""
    match path:
        case ("env", _) | ("ruby", "version") | ("servers", _, "name") | ("servers", _, "labels", _):
            return True
    return False


class _Constructor:
    def __init__(self, source: Source) -> None:
        self._document = Document(source)
        self._budget = MOST
        self._problems: dict[tuple[Span, str], tuple[Path, str]] = {}
        self._secret: set[Span] = set()
        self._parked: set[Span] = set()
        self._open: set[Span] = set()

    def run(self, root: Node) -> tuple[Document, list[Diagnostic]]:
        document = self._document
        document.data = self._value(root, ())
        # What stands under x-* and is used nowhere else: nobody needs to see it.
        document.source.hide(self._secret | (self._parked - self._open))
        problems = [
            document.diagnostic_at(span, path, summary, hint=hint)
            for (span, summary), (path, hint) in self._problems.items()
        ]
        return document, problems

    def _value(self, node: Node, path: Path) -> Json:
        self._spend(node)
        if len(path) > DEEPEST:
            raise Broken(f"This is nested deeper than {DEEPEST} levels", node.span)
        self._document.values[path] = node.span
        if node.problem:
            self._problem(node.marked or node.span, path, node.problem, node.hint)
            self._hide(node, path)
            return None
        if node.kind == "scalar":
            return self._scalar(node, path)
        lines = self._document.source
        if lines.line(node.span.start) != lines.line(max(node.span.start, node.span.end - 1)):
            self._document.blocks.add(path)
        if node.kind == "sequence":
            return [self._value(child, (*path, index)) for index, child in enumerate(node.children)]
        return self._mapping(node, path)

    def _scalar(self, node: Node, path: Path) -> Json:
        self._classify(node, path)
        if node.span.start == node.span.end or "\n" in self._document.source.text[node.span.start : node.span.end]:
            self._document.blocks.add(path)
        if not _storable(node.text):
            self._problem(node.span, path, _UNSTORABLE)
            return None
        value = scalars.resolve(node.text) if node.plain else node.text
        if as_written(path) and value is not None:
            return node.text
        if value is None and len(path) == 2 and path[0] == "env":
            where = self._document.keys.get(path, node.span)
            commented = self._with_comment(node.span) != node.span
            hint = "Here # begins a comment: put the value in quotes." if commented else 'For an empty one, write "".'
            if ":" in str(path[1]):
                hint = "Put a space after the colon."
            self._problem(where, path, f"{quoted(shown_key(str(path[1])))} has no value", hint)
        return value

    def _mapping(self, node: Node, path: Path) -> dict[str, Json]:
        result: dict[str, Json] = {}
        for key, (key_node, value_node) in self._entries(node, path, 0).items():
            self._document.keys[*path, key] = key_node.span
            result[key] = self._value(value_node, (*path, key))
        return result

    def _entries(self, node: Node, path: Path, depth: int) -> dict[str, tuple[Node, Node]]:
        """The entries of a mapping: its own, then those that it merges, of which the first of a name wins."""
        if depth > DEEPEST:
            raise Broken(f"Merges reach deeper than {DEEPEST} levels", node.span)
        own: dict[str, tuple[Node, Node]] = {}
        merged: list[Node] = []
        merge: Node | None = None
        for key_node, value_node in node.pairs:
            self._spend(key_node)
            if key_node.merges:
                if merge is not None:
                    self._twice(key_node, merge, path)
                merge = merge or key_node
                merged += value_node.children if value_node.kind == "sequence" else [value_node]
                continue
            key = self._key(key_node, path)
            if key is None:
                self._hide(value_node, (*path, ""))
                continue
            if key in own:
                self._twice(key_node, own[key][0], (*path, key))
                self._hide(value_node, (*path, key))
            else:
                own[key] = (key_node, value_node)
        for each in merged:
            if each.kind != "mapping" or each.problem:
                summary = each.problem or "Only a mapping can be merged"
                self._note(each.span, path, summary, "Write <<: *name, with the name of a mapping's anchor.")
                self._hide(each, (*path, "<<"))
                continue
            for key, entry in self._entries(each, path, depth + 1).items():
                own.setdefault(key, entry)
        return own

    def _key(self, node: Node, path: Path) -> str | None:
        if node.problem:
            self._note(node.marked or node.span, path, node.problem, node.hint)
        elif node.kind != "scalar":
            self._secret.add(node.span)
            self._note(node.span, path, "A key must be text, not a list or a mapping")
        elif node.plain and not isinstance(scalars.resolve(node.text), str):
            hint = f'Put it in quotes: "{node.text}".' if node.text else "Write a name before the colon."
            self._note(node.span, path, "A key must be text", hint)
        elif not _storable(node.text):
            self._note(node.span, path, _UNSTORABLE)
        else:
            end = shown_part(node.text)
            if end < len(node.text):
                self._secret.add(Span(node.span.start + (end if node.plain else 0), node.span.end))
            return node.text
        return None

    def _twice(self, second: Node, first: Node, path: Path) -> None:
        line = self._document.source.line(first.span.start)
        hint = f"The first one is on line {line}. Keep one of them."
        self._note(second.span, path, f"The key {quoted(shown_key(second.text))} is given twice", hint)

    def _hide(self, node: Node, path: Path, depth: int = 0) -> None:
        """Look for secrets in a node whose value is not used: its lines may be shown all the same."""
        self._spend(node)
        if node.kind == "scalar":
            self._classify(node, path)
        elif depth < DEEPEST:
            for child in (*node.children, *(value for _, value in node.pairs)):
                self._hide(child, (*path, ""), depth + 1)

    def _classify(self, node: Node, path: Path) -> None:
        """Note whether a scalar may be shown."""
        if is_secret(path, node.text):
            self._secret.add(self._with_comment(node.span))
        elif is_parked(path):
            self._parked.add(node.span)
        else:
            self._open.add(node.span)

    def _problem(self, span: Span, path: Path, summary: str, hint: str = "") -> None:
        """Complain about the value at ``path``, so that nothing else is said about it."""
        self._document.broken.add(path)
        self._note(span, path, summary, hint)

    def _with_comment(self, span: Span) -> Span:
        """A value and the comment after it: of ``TOKEN: #abc`` and ``TOKEN: abc #def`` somebody thinks otherwise."""
        line = self._document.source.bounds(max(span.start, span.end - 1))
        rest = self._document.source.text[span.end : line.end]
        if not rest.lstrip().startswith("#"):
            return span
        return Span(span.start if span.start < span.end else span.end + rest.index("#"), line.end)

    def _note(self, span: Span, path: Path, summary: str, hint: str = "") -> None:
        # A node that several aliases name is complained about once.
        self._problems.setdefault((span, summary), (path, hint))

    def _spend(self, node: Node) -> None:
        self._budget -= 1
        if self._budget < 0:
            raise Broken(f"The file holds more than {MOST} values, with its aliases expanded", node.span)


def _storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)
