"""Columns of a table in plain text, padded to the width of their widest cell."""

from __future__ import annotations

from collections.abc import Sequence

from infra.views.style import one_line, text_width

MESSAGE = 24
"""Characters of a message in the last column that are worth the room of another one."""


def padded(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The rows, which have the same number of cells, with every cell padded to the width of its column.

    Cells are padded before they are coloured, because colours add characters without width. A cell may come from a
    server, so its control characters are escaped."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(text_width, column)) for column in zip(*rows, strict=True)]
    return [[cell + " " * (width - text_width(cell)) for cell, width in zip(row, widths, strict=True)] for row in rows]


def fitted(
    rows: list[list[str]], width: int | None, least: Sequence[int], *, message: int | None = None
) -> list[list[str]]:
    """The rows, with empty cells in the columns that do not fit into ``width`` (None: no limit). ``least`` are the
    columns that a narrow terminal does without, the first of these first. Of a last column with messages, which may
    be wrapped, only so many characters must fit."""
    for column in least:
        if width is None or max((_width(row, message) for row in rows), default=0) <= width:
            break
        rows = [[*row[:column], "", *row[column + 1 :]] for row in rows]
    return rows


def _width(row: Sequence[str], message: int | None) -> int:
    shown = [cell for cell in row if cell]
    return text_width(line(shown if message is None else [*shown[:-1], shown[-1][:message]]))


def line(row: Sequence[str]) -> str:
    """One line of a table."""
    return "  ".join(row).rstrip()
