"""The manifest's text, and places in it that are safe to show: secrets starred out, long lines cropped."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from infra.errors import Location
from infra.manifest.urls import credentials

Path = tuple[str | int, ...]
"""The place of a value in the manifest: ``("servers", 0, "host")``."""

WIDEST = 110
"""Characters of a source line that are shown; a longer one is cropped around its caret."""

MASK = "***"
ELLIPSIS = "..."

_BREAK = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Span:
    """Characters ``start`` to ``end`` (exclusive) of the text."""

    start: int
    end: int


@dataclass(frozen=True)
class Shown(Location):
    """A location whose ``text`` is not the source line to the letter, so that ``column`` does not count in it.

    ``caret`` is where in ``text`` the caret goes, from 1; ``length`` counts in ``text`` too.
    """

    caret: int = 1


class Source:
    """One file's text by lines."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        breaks = list(_BREAK.finditer(text))
        self._starts = [0, *(found.end() for found in breaks)]
        self._ends = [*(found.start() for found in breaks), len(text)]
        self._secrets: dict[int, list[Span]] = {}

    def hide(self, spans: Iterable[Span]) -> None:
        """Never show these characters."""
        for span in spans:
            for line in range(self._line(span.start), self._line(max(span.start, span.end - 1)) + 1):
                self._secrets.setdefault(line, []).append(span)

    def line(self, offset: int) -> int:
        """The number of the line that holds a character, from 1."""
        return self._line(offset) + 1

    def bounds(self, offset: int) -> Span:
        """The line that holds a character, without its line break."""
        line = self._line(offset)
        return Span(self._starts[line], self._ends[line])

    def first_line(self, span: Span) -> Span:
        """The part of a span that stands on its first line."""
        return Span(span.start, max(span.start, min(span.end, self.bounds(span.start).end)))

    def location(self, span: Span, hidden: Iterable[Span] = ()) -> Shown:
        """Where a span begins, with its line as it may be shown; ``hidden`` is starred out as well."""
        line = self._line(span.start)
        start, end = self._starts[line], self._ends[line]
        raw = self.text[start:end]
        column = min(span.start, end) - start
        stop = max(column, min(span.end, end) - start)
        covered = [
            (max(0, each.start - start), min(end, each.end) - start)
            for each in (*self._secrets.get(line, ()), *hidden)
            if each.start < end and each.end > start
        ]
        text, positions = _masked(raw, [*covered, *credentials(raw)])
        caret, width = positions[column], positions[stop] - positions[column]
        if width == 0 and stop > column:
            # The whole of what is meant lies inside of a mask, which is marked instead.
            width = len(MASK)
        text, caret, width = _cropped(text, caret, max(1, width))
        return Shown(self.file, line + 1, column + 1, text, width, caret + 1)

    def _line(self, offset: int) -> int:
        return bisect_right(self._starts, min(offset, len(self.text))) - 1


def _masked(raw: str, ranges: Iterable[tuple[int, int]]) -> tuple[str, list[int]]:
    """``raw`` with every range replaced by one mask, and for each of its columns the column in the result."""
    text: list[str] = []
    positions: list[int] = []
    length = 0
    until = 0

    def copy(to: int) -> None:
        nonlocal length
        text.append(raw[len(positions) : to])
        while len(positions) < to:
            positions.append(length)
            length += 1

    for start, end in sorted(ranges):
        if end <= max(until, start):
            continue
        if start > until or not text:
            copy(start)
            text.append(MASK)
            begun, length = length, length + len(MASK)
        positions.extend([begun] * (end - len(positions)))
        until = end
    copy(len(raw))
    positions.append(length)
    return "".join(text), positions


def _cropped(text: str, caret: int, width: int) -> tuple[str, int, int]:
    """A window on ``text`` that holds the caret, with dots where something is left out."""
    if len(text) <= WIDEST:
        return text, caret, width
    start = max(0, min(caret - WIDEST // 3, len(text) - WIDEST))
    end = start + WIDEST
    before, after = (ELLIPSIS if start else ""), (ELLIPSIS if end < len(text) else "")
    caret = caret - start + len(before)
    cropped = before + text[start:end] + after
    return cropped, caret, max(1, min(width, len(before) + WIDEST - caret))
