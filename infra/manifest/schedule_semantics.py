"""Checks of schedules that a schema cannot express: distinct names and valid times."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from infra.errors import Diagnostic
from infra.manifest import conversions
from infra.manifest.cron import SHORTHANDS, CronError, calendar, every
from infra.manifest.document import Document


def check(document: Document, data: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Every error in ``schedule``."""
    dynos = data.get("dynos")
    types = dynos if isinstance(dynos, dict) and dynos else ("web",)
    names: set[str] = set()
    for index, entry in enumerate(entries(data)):
        path = ("schedule", index)
        name = entry.get("name")
        if isinstance(name, str):
            if name in types:
                yield document.diagnostic(
                    (*path, "name"), f"name {name} is already used by a process type", hint="rename the schedule"
                )
            if name in names:
                yield document.diagnostic(
                    (*path, "name"), f"duplicate schedule name {name}", hint="rename one of the schedules"
                )
            names.add(name)
        for key, read, expected in (
            ("cron", calendar, "a cron expression in UTC: minute hour day month weekday, such as 0 3 * * *"),
            ("every", every, "a duration that divides a minute, an hour or a day evenly, such as 30s, 10m, 6h or 1d"),
        ):
            text = entry.get(key)
            if isinstance(text, str):
                try:
                    read(text)
                except CronError as error:
                    yield document.diagnostic(
                        (*path, key), f"invalid value for {key}: {error}", expected=expected, hint=_instead(key, text)
                    )
        if "cron" in entry and "every" in entry:
            yield document.diagnostic(
                (*path, "every"), "cron and every cannot be combined", hint="remove cron or every"
            )
        if "cron" not in entry and "every" not in entry:
            yield document.diagnostic(
                path, f"missing key 'cron' or 'every' in schedule/{index}", expected="cron or every"
            )


def _instead(key: str, text: str) -> str:
    """What to write for a time in another notation, or ""."""
    if key == "every":
        meant = conversions.convert(text, {"x-unit": "seconds", "minimum": 1, "maximum": 86400})
        return f"use {meant}" if meant and meant != text and _is_valid(every, meant) else ""
    if f"@{text.strip('@').lower()}" in SHORTHANDS:
        return f"use @{text.strip('@').lower()}"
    if "TZ=" in text:
        return "remove the time zone, and convert the hour: cron is in UTC"
    seconds, _, rest = " ".join(text.split()).partition(" ")
    if len(rest.split()) == 5:
        return f"without seconds: {rest}" if seconds == "0" and _is_valid(calendar, rest) else ""
    return f"use {short}" if _is_valid(calendar, short := _short_days(text)) else ""


def _is_valid(read: Callable[[str], object], text: str) -> bool:
    try:
        read(text)
    except CronError:
        return False
    return True


def _short_days(text: str) -> str:
    """An expression with the names of days and months in three letters."""
    return re.sub(r"\b(mon|tue|wed|thu|fri|sat|sun)[a-z]*day\b", r"\1", text.lower())


def entries(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of ``schedule``, with {} for an entry that is not a mapping."""
    schedule = data.get("schedule")
    return [entry if isinstance(entry, dict) else {} for entry in schedule] if isinstance(schedule, list) else []
