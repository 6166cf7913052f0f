"""Diagnostics as text: what is wrong, where, the line with a caret, what was expected and a hint."""

from __future__ import annotations

from collections.abc import Sequence

from infra.errors import Diagnostic
from infra.views.style import Style, one_line
from infra.views.wrapping import wrapped


def render(diagnostics: Sequence[Diagnostic], color: bool, width: int | None = None) -> str:
    """Every diagnostic, and their number if there are several. Sentences are wrapped to ``width`` columns, lines of
    the file are not; None: no limit."""
    style = Style(color)
    parts = [_diagnostic(diagnostic, style, width) for diagnostic in diagnostics]
    errors = sum(diagnostic.severity == "error" for diagnostic in diagnostics)
    if errors > 1:
        parts.append(style("red", f"Found {errors} errors."))
    return "\n".join(parts)


def _diagnostic(diagnostic: Diagnostic, style: Style, width: int | None) -> str:
    color = "yellow" if diagnostic.severity == "warning" else "red"
    head = f"{style(color, f'{diagnostic.severity}:')} {style('bold', one_line(diagnostic.summary))}"
    lines = [wrapped(head, width, 2)]
    location = diagnostic.location
    place = f" ({one_line(diagnostic.path)})" if diagnostic.path else ""
    if location is not None:
        lines.append(f"  {style('cyan', f'{one_line(location.file)}:{location.line}:{location.column}')}{place}")
        if location.text:
            number = str(location.line)
            margin = " " * len(number)
            start, shown = _window(location.text, location.column - 1)
            pad = _pad(shown[: location.column - 1 - start])
            carets = "^" * max(1, min(location.length, len(shown) - (location.column - 1 - start)))
            lines.append(f"  {style('dim', f'{number} |')} {one_line(shown)}")
            lines.append(f"  {style('dim', f'{margin} |')} {pad}{style(color, carets)}")
    elif place:
        lines.append(f"  at {one_line(diagnostic.path)}")
    if diagnostic.expected:
        lines.append(wrapped(f"  expected: {one_line(diagnostic.expected)}", width, 4))
    if diagnostic.hint:
        lines.append(wrapped(f"  hint: {one_line(diagnostic.hint)}", width, 4))
    return "\n".join(lines)


def _window(text: str, column: int, width: int = 120) -> tuple[int, str]:
    """The start column and text of the part of a long line around ``column``."""
    start = max(0, min(column - width // 2, len(text) - width))
    return start, text[start : start + width].replace("\t", " ")


def _pad(before: str) -> str:
    return " " * len(one_line(before))
