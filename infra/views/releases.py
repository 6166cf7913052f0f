"""The releases as a table, newest last; a single release in full; or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from infra.model.moment import local
from infra.model.release import UNFINISHED, Release, current, further_back
from infra.views.style import Style, one_line, printable
from infra.views.table import MESSAGE, fitted, line, padded
from infra.views.wrapping import wrapped

_HEAD = ("RELEASE", "WHEN", "WHO", "RESULT", "SLUG", "COMMIT", "MESSAGE")
DIGITS = 12
"""Digits of a digest that are shown."""

_LEAST = (4, 5)
"""SLUG, COMMIT: the columns that a narrow terminal does without."""


def table(
    releases: Sequence[Release],
    now: Release | None,
    holders: Mapping[int, Sequence[str]],
    style: Style,
    *,
    under_way: bool = False,
    width: int | None = None,
) -> str:
    """One line per release, for a terminal of ``width`` columns (None: no limit). A star marks the current release: the
    newest that was rolled out completely. With ``under_way``, an apply is running at this moment, so that the newest
    release is not left unfinished, but in progress. Without any message, their column is left out."""
    if not releases:
        return "No releases are recorded on the servers."
    if under_way and releases[-1].result == UNFINISHED:
        releases = [*releases[:-1], replace(releases[-1], result="in progress")]
    rows = [_HEAD, *(_cells(release) for release in releases)]
    told = any(row[-1] for row in rows[1:])
    aligned = padded(rows) if told else [[*cells[:-1], ""] for cells in padded(rows)]
    # The mark before each line takes two columns.
    cells_of = fitted(aligned, None if width is None else width - 2, _LEAST, message=MESSAGE if told else None)
    lines = []
    for number, (_, cells) in enumerate(zip(rows, cells_of, strict=True)):
        mark = " "
        if number:
            release = releases[number - 1]
            mark = "*" if now is not None and release.number == now.number else " "
            cells[3] = style({"ok": "green", "in progress": "yellow"}.get(release.result, "red"), cells[3])
            if release.number not in holders:
                cells = [style("dim", cell) if place != 3 else cell for place, cell in enumerate(cells)]
        lines.append(line([f"{mark} {cells[0]}", *(cell for cell in cells[1:] if cell)]))
    if now is not None:
        earlier = _example(releases, current(releases) or now, holders)
        lines.append("* current release." + (f" To roll back: dynoctl rollback {earlier}" if earlier else ""))
    return wrapped("\n".join(lines), width)


def details(release: Release, variables: Sequence[str], web: Sequence[str], holders: Sequence[str]) -> str:
    """A release, with only the names of its variables and the first digits of digests, which are whole in JSON."""
    where = ", ".join(holders) if holders else "no server, so a rollback to it is not possible"
    fields = {
        "Result": release.result,
        "Created": f"{local(release.when)} by {release.who}" if release.when else "",
        "Rollback to": f"v{release.of}" if release.of else "",
        "Message": release.message,
        "Commit": release.commit,
        "Manifest": release.manifest[:DIGITS],
        "Slug": release.slug[:DIGITS],
        "Web": " ".join(web),
        "Variables": ", ".join(variables),
        "Stored on": where,
    }
    width = max(len(name) for name in fields)
    lines = [f"v{release.number}"]
    lines += [f"  {name:<{width}}  {printable(value)}" for name, value in fields.items() if value]
    if release.failure:
        lines.append("  Why it failed")
        lines += [f"  | {one_line(line)}" for line in release.failure.splitlines()]
    return "\n".join(lines)


def document(
    releases: Sequence[Release], now: Release | None, holders: Mapping[int, Sequence[str]], lost: Mapping[str, str]
) -> dict[str, object]:
    """The releases as JSON, format version 1."""
    return {
        "format_version": 1,
        "releases": [as_json(release, holders.get(release.number, ())) for release in releases],
        "current": None if now is None else now.number,
        "unreachable": dict(lost),
    }


def as_json(release: Release, holders: Sequence[str]) -> dict[str, Any]:
    """A release as JSON values, without what would help to guess its secrets."""
    values = asdict(release)
    for name in ("digest", "salt", "commanded", "on", "moved", "sealed"):
        del values[name]
    return values | {"stored_on": list(holders)}


def _example(releases: Sequence[Release], running: Release, holders: Mapping[int, Sequence[str]]) -> str:
    """A release that can be rolled back to, or "". During a rollback, it is one that is further back: what was rolled
    back from ran on all dynos as well."""
    if running.of:
        further = further_back(running, releases, holders)
        return f"v{further.number}" if further is not None else ""
    good = [
        release
        for release in releases
        if release.result == "ok" and release.number in holders and release.number != running.number
    ]
    if good:
        return f"v{good[-1].number}"
    return "VERSION" if any(number < running.number for number in holders) else ""


def _cells(release: Release) -> tuple[str, ...]:
    message = release.message or (f"rollback to v{release.of}" if release.of else "")
    words = (local(release.when), release.who, release.result, release.slug[:DIGITS], release.commit, message)
    return (f"v{release.number}", *(printable(word) for word in words))
