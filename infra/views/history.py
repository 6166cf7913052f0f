"""The audit log of an app as a table, newest last, or as JSON."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from infra.model.moment import local
from infra.views.style import Style, duration, one_line, text_width
from infra.views.table import line, padded
from infra.views.wrapping import wrapped

_COLUMNS = ("WHEN", "WHO", "COMMAND", "RESULT", "RELEASE", "CHANGES", "SLUG", "TOOK", "MESSAGE")

_NARROWER: tuple[tuple[str, ...], ...] = (
    (),
    ("SLUG",),
    ("MESSAGE",),
    ("MESSAGE", "SLUG"),
    ("MESSAGE", "SLUG", "CHANGES"),
    ("MESSAGE", "SLUG", "CHANGES", "arguments"),
    ("MESSAGE", "SLUG", "CHANGES", "arguments", "WHO"),
)
"""The columns that a terminal has no room for, the widest one first. A message, who it was and the arguments of the
command are then on lines of their own; the others are left out."""

_LONGEST = 28
"""Characters of a command that is beside the others."""


def table(entries: Sequence[Mapping[str, Any]], style: Style, width: int | None = None) -> str:
    """One line per apply, and below it what has no room beside the others, and its failures. ``width`` are the columns
    of the terminal; None: no limit."""
    if not entries:
        return "No applies are recorded on the servers."
    rows = [_cells(entry) for entry in entries]
    told = any(row["MESSAGE"] for row in rows)
    for narrower in _NARROWER:
        without = narrower if told else ("MESSAGE", *narrower)
        head, *lines = _lines(rows, without)
        if width is None or max(text_width(line(row)) for row in (head, *lines)) <= width:
            break
    text, result = [line(head)], head.index(next(cell for cell in head if cell.strip() == "RESULT"))
    for entry, row, shown in zip(entries, rows, lines, strict=True):
        shown[result] = style("green" if row["RESULT"] == "ok" else "red", shown[result])
        text.append(line(shown))
        text += [f"    {words}" for words in _below(row, without)]
        text += [f"    {one_line(str(failure))}" for failure in entry.get("failures", ())]
    return wrapped("\n".join(text), width)


def _lines(rows: Sequence[Mapping[str, str]], without: Collection[str]) -> list[list[str]]:
    """The padded cells of the head and of all rows, without some columns."""
    shown = [column for column in _COLUMNS if column not in without]
    cells = [[_command(row, without) if column == "COMMAND" else row[column] for column in shown] for row in rows]
    return padded([shown, *cells])


def _command(row: Mapping[str, str], without: Collection[str]) -> str:
    return row["verb"] if "arguments" in without or len(row["COMMAND"]) > _LONGEST else row["COMMAND"]


def _below(row: Mapping[str, str], without: Collection[str]) -> list[str]:
    """What of a row is on lines of its own."""
    hidden = {
        "who": row["WHO"] if "WHO" in without else "",
        "command": row["COMMAND"] if _command(row, without) != row["COMMAND"] else "",
        "message": row["MESSAGE"] if "MESSAGE" in without else "",
    }
    return [f"{name}: {words}" for name, words in hidden.items() if words]


def _cells(entry: Mapping[str, Any]) -> dict[str, str]:
    """The cells by column, and the ``verb``: the command without its arguments."""
    verb = str(entry.get("command", ""))
    cells = {
        "WHEN": local(str(entry.get("when", ""))),
        "WHO": entry.get("who", ""),
        "COMMAND": " ".join([verb, *map(str, entry.get("arguments", ()))]),
        "RESULT": entry.get("result", ""),
        "RELEASE": f"v{entry['release']}" if entry.get("release") else "",
        "CHANGES": f"+{entry.get('added', 0)} ~{entry.get('changed', 0)} -{entry.get('destroyed', 0)}",
        "SLUG": entry.get("slug", ""),
        "TOOK": duration(entry.get("seconds", 0)),
        "MESSAGE": entry.get("message", ""),
        "verb": verb,
    }
    return {name: one_line(str(text)) for name, text in cells.items()}


def document(entries: Sequence[Mapping[str, Any]], unreachable: Mapping[str, str]) -> dict[str, object]:
    """The entries as JSON, format version 1."""
    return {"format_version": 1, "history": list(entries), "unreachable": dict(unreachable)}
