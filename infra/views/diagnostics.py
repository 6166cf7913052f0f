"""Diagnostics for people: what is wrong, where, the line with a caret, what would be right, what to do."""

from __future__ import annotations

from collections.abc import Sequence

from infra.errors import Diagnostic
from infra.views.style import Style, printable


def render(diagnostics: Sequence[Diagnostic], color: bool) -> str:
    """All of them, one after the other, and how many there are."""
    style = Style(color)
    parts = [_one(diagnostic, style) for diagnostic in diagnostics]
    if len(diagnostics) > 1:
        parts.append(style("red", f"{len(diagnostics)} errors."))
    return "\n".join(parts)


def _one(diagnostic: Diagnostic, style: Style) -> str:
    lines = [f"{style('red', 'Error:')} {style('bold', printable(diagnostic.summary))}"]
    where = diagnostic.location
    place = f" ({printable(diagnostic.path)})" if diagnostic.path else ""
    if where is not None:
        lines.append(f"  {style('cyan', f'{where.file}:{where.line}:{where.column}')}{place}")
        if where.text:
            number = str(where.line)
            margin = " " * len(number)
            start, shown = _window(where.text, where.column - 1)
            pad = _pad(shown[: where.column - 1 - start])
            carets = "^" * max(1, min(where.length, len(shown) - (where.column - 1 - start)))
            lines.append(f"  {style('dim', f'{number} |')} {printable(shown)}")
            lines.append(f"  {style('dim', f'{margin} |')} {pad}{style('red', carets)}")
    elif place:
        lines.append(f"  at {printable(diagnostic.path)}")
    if diagnostic.expected:
        lines.append(f"  expected: {printable(diagnostic.expected)}")
    if diagnostic.hint:
        lines.append(f"  {printable(diagnostic.hint)}")
    return "\n".join(lines)


def _window(text: str, column: int, width: int = 120) -> tuple[int, str]:
    """The part of a long line around a column."""
    text = text.replace("\t", " ")
    if len(text) <= width:
        return 0, text
    start = max(0, min(column - width // 2, len(text) - width))
    return start, text[start : start + width]


def _pad(before: str) -> str:
    return " " * len(printable(before))
