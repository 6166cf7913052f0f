"""What a schema cannot say of a schedule: names of their own, and moments that come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.errors import Diagnostic
from infra.manifest.cron import CronError, calendar, every
from infra.manifest.document import Document


def check(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Every problem of ``schedule``."""
    dynos = data.get("dynos")
    types = dynos if isinstance(dynos, dict) and dynos else ("web",)
    names: set[str] = set()
    for index, one in enumerate(named(data)):
        where = ("schedule", index)
        name = one.get("name")
        if isinstance(name, str):
            if name in types:
                yield document.diagnostic((*where, "name"), f"{name} is a process type already")
            if name in names:
                yield document.diagnostic((*where, "name"), f"there are two schedules called {name}")
            names.add(name)
        for key, read, expected in (
            ("cron", calendar, "minute hour day month weekday, in UTC: 0 3 * * *"),
            ("every", every, "a time that divides a minute, an hour or a day: 30s, 10m, 6h, 1d; or cron"),
        ):
            text = one.get(key)
            if isinstance(text, str):
                try:
                    read(text)
                except CronError as error:
                    yield document.diagnostic((*where, key), f"{key}: {error}", expected=expected)
        if "cron" in one and "every" in one:
            yield document.diagnostic((*where, "every"), "cron and every exclude each other")
        if "cron" not in one and "every" not in one:
            yield document.diagnostic(where, f"{name or 'it'} does not say when it runs", expected="cron or every")


def named(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The schedule's entries, as far as they are entries."""
    given = data.get("schedule")
    return [one if isinstance(one, dict) else {} for one in given] if isinstance(given, list) else []
