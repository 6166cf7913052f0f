"""Columns of a table in plain text, padded to the width of their widest cell."""

from __future__ import annotations

from collections.abc import Sequence

from infra.views.style import one_line


def padded(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The rows, which have the same number of cells, with every cell padded to the width of its column.

    Cells are padded before they are coloured, because colours add characters without width. A cell may come from a
    server, so its control characters are escaped."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [[f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)] for row in rows]


def line(cells: Sequence[str]) -> str:
    """One line of a table."""
    return "  ".join(cells).rstrip()
