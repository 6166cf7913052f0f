"""From the graph of nodes to plain values: aliases and merges expanded within limits, secrets marked."""

from __future__ import annotations

import re

from infra.errors import Diagnostic
from infra.manifest import scalars
from infra.manifest.document import Document, Path
from infra.manifest.model import Json
from infra.manifest.nodes import DEEPEST, Broken, Node
from infra.manifest.source import Source, Span
from infra.manifest.wording import quoted

MOST = 50_000
"""Values once every alias is expanded. A bomb has millions."""

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TELLING = re.compile(r"secret|passw|token|credential|private|api_?key", re.IGNORECASE)
_LIKE_ENV = re.compile(r"env|var|conf", re.IGNORECASE)
_URLS: tuple[Path, ...] = (("database", "url"), ("cache", "url"))


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
            self._problem(node.span, path, node.problem, node.hint)
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
            self._problem(node.span, path, "A NUL character or half a character cannot be stored")
            return None
        value = scalars.resolve(node.text) if node.plain else node.text
        if as_written(path) and value is not None:
            return node.text
        if value is None and len(path) == 2 and path[0] == "env":
            where = self._document.keys.get(path, node.span)
            self._problem(where, path, f"{quoted(path[1])} has no value", 'For an empty one, write "".')
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
                continue
            if key in own:
                self._twice(key_node, own[key][0], (*path, key))
                # Read all the same, so that a secret in it is known as one.
                self._hide_all(value_node, (*path, key), 0)
            else:
                own[key] = (key_node, value_node)
        for each in merged:
            if each.kind != "mapping" or each.problem:
                summary = each.problem or "Only a mapping can be merged"
                self._note(each.span, path, summary, "Write <<: *name, with the name of a mapping's anchor.")
                continue
            for key, entry in self._entries(each, path, depth + 1).items():
                own.setdefault(key, entry)
        return own

    def _key(self, node: Node, path: Path) -> str | None:
        if node.problem:
            self._note(node.span, path, node.problem, node.hint)
        elif node.kind != "scalar":
            self._note(node.span, path, "A key must be text, not a list or a mapping")
        elif node.plain and not isinstance(scalars.resolve(node.text), str):
            hint = f'Put it in quotes: "{node.text}".' if node.text else "Write a name before the colon."
            self._note(node.span, path, "A key must be text", hint)
        elif not _storable(node.text):
            self._note(node.span, path, "A NUL character or half a character cannot be stored")
        else:
            return node.text
        return None

    def _twice(self, second: Node, first: Node, path: Path) -> None:
        line = self._document.source.line(first.span.start)
        hint = f"The first one is on line {line}. Keep one of them."
        self._note(second.span, path, f"The key {quoted(second.text)} is given twice", hint)

    def _hide_all(self, node: Node, path: Path, depth: int) -> None:
        self._spend(node)
        if node.kind == "scalar":
            self._classify(node, path)
        elif depth < DEEPEST:
            for child in (*node.children, *(value for _, value in node.pairs)):
                self._hide_all(child, (*path, ""), depth + 1)

    def _classify(self, node: Node, path: Path) -> None:
        """Note whether a scalar may be shown."""
        first = path[0] if path else ""
        if self._is_secret(node, path):
            self._secret.add(node.span)
        elif isinstance(first, str) and first.startswith("x-"):
            self._parked.add(node.span)
        else:
            self._open.add(node.span)

    @staticmethod
    def _is_secret(node: Node, path: Path) -> bool:
        """Everything under env (and under what may be a misspelt env) but the names in references; URLs that
        cannot be taken apart; telling names."""
        match path:
            case ("env", _, "from_env"):
                # Somebody may have put the secret itself where its name belongs.
                return not _ENV_NAME.fullmatch(node.text)
            case ("env", _, "from_file") | ("env", _, "from_command", 0):
                return False
            case ("env", *_):
                return True
        if path in _URLS:
            return _opaque(node.text)
        if path and isinstance(path[0], str) and _LIKE_ENV.search(path[0]) and not path[0].startswith("x-"):
            return True
        return bool(path) and any(isinstance(step, str) and _TELLING.search(step) for step in path)

    def _problem(self, span: Span, path: Path, summary: str, hint: str = "") -> None:
        """Complain about the value at ``path``, so that nothing else is said about it."""
        self._document.broken.add(path)
        self._note(span, path, summary, hint)

    def _note(self, span: Span, path: Path, summary: str, hint: str = "") -> None:
        # A node that several aliases name is complained about once.
        self._problems.setdefault((span, summary), (path, hint))

    def _spend(self, node: Node) -> None:
        self._budget -= 1
        if self._budget < 0:
            raise Broken(f"The file's aliases expand to more than {MOST} values", node.span)


def _storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def _opaque(url: str) -> bool:
    """Whether it cannot be told where in a URL its password is."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        return any(c.isspace() for c in url) or parts.port == -1
    except ValueError:
        return True
