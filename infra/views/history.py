"""The audit log of an app as a table, newest last, or as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from infra.views.style import Style, duration, one_line
from infra.views.table import MESSAGE, fitted, line, padded
from infra.views.times import local
from infra.views.wrapping import wrapped

_HEAD = ("WHEN", "WHO", "COMMAND", "RESULT", "RELEASE", "CHANGES", "SLUG", "TOOK", "MESSAGE")


_LEAST = (6, 5, 7)
"""SLUG, CHANGES, TOOK: the columns that a narrow terminal does without."""


def table(entries: Sequence[Mapping[str, Any]], style: Style, width: int | None = None) -> str:
    """One line per apply, with its failures below it. ``width`` are the columns of the terminal; None: no limit."""
    if not entries:
        return "No applies are recorded on the servers."
    rows = [_HEAD, *(_cells(entry) for entry in entries)]
    lines = []
    for number, (row, cells) in enumerate(zip(rows, fitted(padded(rows), width, _LEAST, message=MESSAGE), strict=True)):
        if number:
            cells[3] = style("green" if row[3] == "ok" else "red", cells[3])
        lines.append(line([cell for cell in cells if cell]))
        if number:
            lines += [f"    {one_line(str(failure))}" for failure in entries[number - 1].get("failures", ())]
    return wrapped("\n".join(lines), width)


def _cells(entry: Mapping[str, Any]) -> tuple[str, ...]:
    changes = f"+{entry.get('added', 0)} ~{entry.get('changed', 0)} -{entry.get('destroyed', 0)}"
    words = [local(str(entry.get("when", ""))), *(entry.get(key, "") for key in ("who", "command", "result"))]
    release = f"v{entry['release']}" if entry.get("release") else ""
    return (
        *(one_line(str(word)) for word in words),
        release,
        changes,
        str(entry.get("slug", "")),
        duration(entry.get("seconds", 0)),
        one_line(str(entry.get("message", ""))),
    )


def document(entries: Sequence[Mapping[str, Any]], unreachable: Mapping[str, str]) -> dict[str, object]:
    """The entries as JSON, format version 1."""
    return {"format_version": 1, "history": list(entries), "unreachable": dict(unreachable)}
