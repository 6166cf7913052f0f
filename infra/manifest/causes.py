"""One error for each cause: leaves out those that only follow from another one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from infra.errors import Diagnostic, Location
from infra.manifest.document import Path
from infra.manifest.foreign_keys import replaces

_MISSING = "missing key"
_UNKNOWN = ("unknown key", "invalid name")
MOST_OF_THEM = 3
"""Missing keys of the top level that are one error."""


def distinct(
    by_schema: Sequence[Diagnostic], by_meaning: Iterable[Diagnostic], unread: Collection[Path] = ()
) -> list[Diagnostic]:
    """The errors, without a second one of the same value, and without a missing key that is there by another name.

    ``by_schema`` are those of the form of single values; ``by_meaning``, of what they mean together, is reported only
    for values that have the right form. Values that are ``unread`` have an error already."""
    known = {"/".join(map(str, path)) for path in unread}
    invalid = {one.path for one in by_schema if one.path and not one.summary.startswith((_MISSING, *_UNKNOWN))}
    renamed = {
        (one.path.rpartition("/")[0], key)
        for one in by_schema
        if one.summary.startswith(_UNKNOWN)
        for key in replaces(one.hint)
    }
    found: dict[tuple[str, Location | None], Diagnostic] = {}
    for one in sorted(by_schema, key=lambda one: not one.summary.startswith(_UNKNOWN)):
        found.setdefault((one.summary if one.summary.startswith(_MISSING) else one.path, one.location), one)
    together = [*found.values(), *(one for one in by_meaning if one.path not in invalid)]
    together = [one for one in together if not one.path or one.path not in known]
    return _without_start([one for one in together if not any((one.path, key) in renamed for key in _missing(one))])


def _without_start(found: list[Diagnostic]) -> list[Diagnostic]:
    """The errors, with one of a file that lacks most of what a manifest starts with, such as one of another tool."""
    lacking = [one for one in found if not one.path and one.summary.startswith(_MISSING)]
    if len(lacking) < MOST_OF_THEM:
        return found
    names = [name for one in lacking for name in _missing(one)[:1]]
    whole = replace(
        lacking[0],
        summary=f"missing keys: {', '.join(names)}",
        expected="a manifest of dynoctl, which starts with version: 1",
        hint="for a dyno.yaml made from the files of the app, such as Procfile or config/deploy.yml: dynoctl init",
    )
    return [whole, *(one for one in found if one not in lacking)]


def _missing(one: Diagnostic) -> list[str]:
    return re.findall(r"'(\w+)'", one.summary) if one.summary.startswith(_MISSING) else []
