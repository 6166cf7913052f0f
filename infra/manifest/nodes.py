"""From YAML's events to a graph of nodes: without recursion, without resolving, every node with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from infra.manifest.source import Span

DEEPEST = 50
"""Collections inside of each other. Everything after this reads them by recursion."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*\s+)+")
_MERGE = "<<"


@dataclass(eq=False, slots=True)
class Node:
    """One node. ``text`` is a scalar's, ``children`` a sequence's; ``pairs`` are a mapping's.

    ``plain`` means without quotes. ``problem`` says why the node cannot be used: a tag, a dangling alias.
    """

    kind: Literal["scalar", "sequence", "mapping"]
    span: Span
    text: str = ""
    plain: bool = False
    children: list[Node] = field(default_factory=list)
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    problem: str = ""
    hint: str = ""
    marked: Span | None = None
    """What the problem is about, where that is not the node itself."""
    complete: bool = True
    waiting: Node | None = None
    """A mapping's key whose value is still to come."""

    @property
    def merges(self) -> bool:
        """Whether this is the key of a merge."""
        return self.plain and self.text == _MERGE


class Broken(Exception):
    """The text cannot be read to its end. ``key`` is the top-level key in which that was noticed, if any."""

    def __init__(self, summary: str, span: Span, hint: str = "", expected: str = "", key: str | None = None) -> None:
        super().__init__(summary)
        self.summary = summary
        self.span = span
        self.hint = hint
        self.expected = expected
        self.key = key


def compose(text: str) -> Node | None:
    """The root of the one document in ``text``; None where there is none. Raises Broken, and nothing else."""
    composer = _Composer(text)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            composer.take(event)
    except yaml.YAMLError as error:
        from infra.manifest.syntax import explain

        broken = explain(text, error)
        broken.key = composer.key()
        raise broken from None
    return composer.root


class _Composer:
    """Puts events together. It keeps the open collections itself, so hostile nesting meets a limit, not a stack."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._open: list[Node] = []
        self._anchors: dict[str, Node] = {}
        self._documents = 0
        self.root: Node | None = None

    def key(self) -> str | None:
        """The top-level key whose value is being read."""
        root = self._open[0] if self._open else None
        return root.waiting.text if root is not None and root.waiting is not None else None

    def take(self, event: Any) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise Broken(
                        "The file holds several documents",
                        _span(event),
                        hint="Remove the line --- and what follows it.",
                        expected="one document",
                    )
            case yaml.AliasEvent():
                self._place(self._alias(event))
            case yaml.ScalarEvent():
                node = Node("scalar", self._own_span(event), event.value, plain=bool(event.implicit[0]))
                self._begin(event, node)
            case yaml.SequenceStartEvent():
                self._begin(event, Node("sequence", self._own_span(event), complete=False))
            case yaml.MappingStartEvent():
                self._begin(event, Node("mapping", self._own_span(event), complete=False))
            case yaml.CollectionEndEvent() as end:
                node = self._open.pop()
                node.complete = True
                node.span = Span(node.span.start, max(node.span.end, _span(end).end))

    def _begin(self, event: Any, node: Node) -> None:
        if event.tag is not None:
            node.marked = Span(event.start_mark.index, max(event.start_mark.index + 1, node.span.start))
            node.problem = f"The tag {_tag(event.tag)} is not allowed"
            node.hint = 'Remove it; to make a value text, put it in quotes: "1.10".'
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._place(node)
        if node.kind != "scalar":
            self._open.append(node)
            if len(self._open) > DEEPEST:
                raise Broken(f"This is nested deeper than {DEEPEST} levels", node.span, key=self.key())

    def _alias(self, event: Any) -> Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            return Node(
                "scalar",
                _span(event),
                problem=f"No anchor &{_crop(event.anchor)} stands before this alias",
                hint="A value that begins with * is an alias; for text, put it in quotes.",
            )
        if not node.complete:
            return Node("scalar", _span(event), problem="This alias stands inside of the value that it names")
        return node

    def _place(self, node: Node) -> None:
        """Put a node where it belongs: into the innermost open collection."""
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        if parent.kind == "sequence":
            parent.children.append(node)
        elif parent.waiting is None:
            parent.waiting = node
        else:
            parent.pairs.append((parent.waiting, node))
            parent.waiting = None

    def _own_span(self, event: Any) -> Span:
        """The span of the value itself, without an anchor or a tag before it."""
        span = _span(event)
        if event.anchor is None and event.tag is None:
            return span
        found = _PROPERTIES.match(self._text, span.start, span.end)
        return span if found is None else Span(found.end(), span.end)


def _span(event: Any) -> Span:
    return Span(event.start_mark.index, event.end_mark.index)


def _tag(tag: str) -> str:
    return _crop(tag.replace("tag:yaml.org,2002:", "!!"))


def _crop(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
