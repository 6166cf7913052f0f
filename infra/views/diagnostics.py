"""Diagnostics for people: what is wrong, where, the line with a caret, what would be right, what to do."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from infra.errors import Diagnostic, Location
from infra.manifest.source import ELLIPSIS, WIDEST, Shown
from infra.views.style import Style, printable


def render(diagnostics: Sequence[Diagnostic], color: bool) -> str:
    """All of them with a blank line between, and how many errors there are where it is more than one."""
    style = Style(color)
    parts = [_one(diagnostic, style) for diagnostic in diagnostics]
    errors = sum(diagnostic.severity == "error" for diagnostic in diagnostics)
    if errors > 1:
        parts.append(style("red", f"{errors} errors."))
    return "\n\n".join(parts)


def _one(diagnostic: Diagnostic, style: Style) -> str:
    color = "red" if diagnostic.severity == "error" else "yellow"
    label = style(color, f"{diagnostic.severity.capitalize()}:")
    lines = [f"{label} {style('bold', _line(diagnostic.summary))}"]
    where, path = diagnostic.location, _line(diagnostic.path)
    if where is not None:
        place = style("cyan", f"{_line(where.file)}:{where.line}:{where.column}")
        lines.append(f"  {place}" + (f" ({path})" if path else ""))
        lines += _excerpt(where, style, color)
    elif path:
        lines.append(f"  at {path}")
    if diagnostic.expected:
        lines.append(f"  expected: {_line(diagnostic.expected)}")
    if diagnostic.hint:
        lines.append(f"  {_line(diagnostic.hint)}")
    return "\n".join(lines)


def _excerpt(where: Location, style: Style, color: str) -> list[str]:
    """The source line, and below it carets under what is meant."""
    if not where.text.strip():
        return []
    text, caret = where.text, (where.caret if isinstance(where, Shown) else where.column) - 1
    if not isinstance(where, Shown) and len(text) > WIDEST:
        start = max(0, caret - WIDEST // 3)
        text, caret = text[start : start + WIDEST], caret - start
        if start:
            text, caret = ELLIPSIS + text, caret + len(ELLIPSIS)
    before, meant = text[:caret], text[caret : caret + where.length]
    carets = " " * _width(before) + style(color, "^" * max(1, _width(meant)))
    number = str(where.line)
    return [
        f"  {style('dim', f'{number} |')} {_line(text)}",
        f"  {style('dim', ' ' * len(number) + ' |')} {carets}",
    ]


def _line(text: str) -> str:
    """``text`` on one line, with nothing in it that a terminal obeys."""
    return printable(text.replace("\t", "  ").replace("\n", "\\n"))


def _width(text: str) -> int:
    """How many columns of a terminal ``text`` takes once it is printed: CJK takes two, an accent none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in _line(text)
    )
