"""Releases as a table, newest last; one release in full; or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from infra.model.release import Release
from infra.views.style import Style, printable

_HEAD = ("RELEASE", "WHEN", "WHO", "RESULT", "SLUG", "COMMIT", "MESSAGE")


def table(releases: Sequence[Release], now: Release | None, holders: Mapping[int, Sequence[str]], style: Style) -> str:
    """One line for each release. A star marks the one that runs."""
    if not releases:
        return "Nothing was released yet, or nothing is left that remembers it."
    rows = [_HEAD, *(_cells(one) for one in releases)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = []
    for number, row in enumerate(rows):
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        mark = " "
        if number:
            one = releases[number - 1]
            mark = "*" if now is not None and one.number == now.number else " "
            cells[3] = style("green" if one.result == "ok" else "red", cells[3])
            if one.number not in holders:
                cells = [style("dim", cell) if place != 3 else cell for place, cell in enumerate(cells)]
        lines.append(f"{mark} {'  '.join(cells)}".rstrip())
    if now is not None:
        lines.append(f"* runs now. To go back: dynoctl rollback {_example(releases, now, holders)}".rstrip())
    return "\n".join(lines)


def one_release(one: Release, variables: Sequence[str], web: Sequence[str], holders: Sequence[str]) -> str:
    """All that may be shown of one release: of its variables only the names."""
    where = ", ".join(holders) if holders else "nowhere any more: it cannot be gone back to"
    fields = {
        "Result": one.result,
        "Made": f"{one.when} by {one.who}" if one.when else "",
        "Rollback to": f"v{one.of}" if one.of else "",
        "Message": one.message,
        "Commit": one.commit,
        "Manifest": one.manifest,
        "Slug": one.slug,
        "Web": " ".join(web),
        "Variables": ", ".join(variables),
        "Stored on": where,
    }
    width = max(len(name) for name in fields)
    lines = [f"v{one.number}"]
    lines += [f"  {name:<{width}}  {printable(value)}" for name, value in fields.items() if value]
    return "\n".join(lines)


def document(
    releases: Sequence[Release], now: Release | None, holders: Mapping[int, Sequence[str]], lost: Mapping[str, str]
) -> dict[str, object]:
    """The same as JSON, format version 1."""
    return {
        "format_version": 1,
        "releases": [as_json(one, holders.get(one.number, ())) for one in releases],
        "current": None if now is None else now.number,
        "unreachable": dict(lost),
    }


def as_json(one: Release, holders: Sequence[str]) -> dict[str, Any]:
    """One release, without what would help to guess at its secrets."""
    values = asdict(one)
    for name in ("digest", "salt", "commanded", "on", "moved"):
        del values[name]
    return values | {"stored_on": list(holders)}


def _example(releases: Sequence[Release], now: Release, holders: Mapping[int, Sequence[str]]) -> str:
    good = [one for one in releases if one.result == "ok" and one.number in holders and one.number != now.number]
    return f"v{good[-1].number}" if good else "VERSION"


def _cells(one: Release) -> tuple[str, ...]:
    message = one.message or (f"rollback to v{one.of}" if one.of else "")
    words = (one.when, one.who, one.result, one.slug[:12], one.commit, message)
    return (f"v{one.number}", *(printable(word) for word in words))
