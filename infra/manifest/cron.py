"""Cron expressions and intervals as calendar events of systemd. All times are UTC."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""The maximum number of days of each month."""

SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"([1-9][0-9]{0,4})([smhd])")
_PART = re.compile(r"(?:(?P<all>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d{1,2}))?", re.ASCII)


class CronError(ValueError):
    """An invalid cron expression or interval. The message says what is wrong."""


@dataclass(frozen=True)
class _Field:
    name: str
    lowest: int
    highest: int
    names: Sequence[str] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, MONTHS),
    _Field("day of the week", 0, 7, DAYS),
)


def calendar(text: str) -> tuple[str, ...]:
    """The ``OnCalendar=`` values of a cron expression. Raises CronError.

    There are two values if the expression restricts both the day of the month and the day of the week, because it then
    matches if either does (crontab(5))."""
    fields = SHORTHANDS.get(text.strip().lower(), text).lower().split()
    if len(fields) != len(_FIELDS):
        raise CronError(f"expected 5 fields, found {len(fields)}")
    minutes, hours, days, months, weekdays = (_values(field, text) for field, text in zip(_FIELDS, fields, strict=True))
    week = sorted({day % 7 for day in weekdays})
    clock = f"{_list(hours, 24)}:{_list(minutes, 60)}:00 UTC"
    dates = f"*-{_list(months, 12)}-{_list(days, 31)}"
    if fields[2].startswith("*") or fields[4].startswith("*"):
        if len(week) == len(DAYS) and all(min(days) > LONGEST[month - 1] for month in months):
            names = " or ".join(MONTHS[month - 1].capitalize() for month in months)
            raise CronError(f"day {min(days)} does not exist in {names}")
        return (f"{_week(week)}{dates} {clock}",)
    return (f"{dates} {clock}", f"{_week(week)}*-{_list(months, 12)}-* {clock}")


def problem(text: str) -> str:
    """What is wrong with a cron expression; "" if nothing is."""
    try:
        calendar(text)
    except CronError as error:
        return str(error)
    return ""


def every(text: str) -> tuple[str, ...]:
    """The ``OnCalendar=`` value of an interval such as ``10m``: fixed times of the hour or the day, the same on every
    server. Raises CronError if the times would differ from day to day."""
    found = _SPAN.fullmatch(text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if seconds == _UNITS["d"]:
        return ("*-*-* 00:00:00 UTC",)
    if not 0 < seconds < _UNITS["d"]:
        raise CronError("the interval must be from 1s to 1d")
    if seconds < 60 and 60 % seconds == 0:
        return (f"*-*-* *:*:{_list(range(0, 60, seconds), 60)} UTC",)
    if seconds % 60 == 0 and seconds < 3600 and 3600 % seconds == 0:
        return (f"*-*-* *:{_list(range(0, 60, seconds // 60), 60)}:00 UTC",)
    if seconds % 3600 == 0 and 86400 % seconds == 0:
        return (f"*-*-* {_list(range(0, 24, seconds // 3600), 24)}:00:00 UTC",)
    raise CronError("the interval must divide a minute, an hour or a day evenly")


def _values(field: _Field, text: str) -> list[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise CronError(f"{field.name}: {part!r} is not a number, a range or a step")
        step = int(match["step"] or 1)
        if step == 0:
            raise CronError(f"{field.name}: the step must not be 0")
        if match["all"]:
            first, last = field.lowest, field.highest
        else:
            first = _number(field, match["first"])
            last = _number(field, match["last"]) if match["last"] else field.highest if match["step"] else first
        if first > last:
            raise CronError(f"{field.name}: the start of range {part!r} is after its end")
        found.update(range(first, last + 1, step))
    return sorted(found)


def _number(field: _Field, text: str) -> int:
    if text in field.names:
        return field.names.index(text) + field.lowest
    number = int(text) if text.isdigit() and len(text) <= 2 else -1
    if not field.lowest <= number <= field.highest:
        raise CronError(f"{field.name}: {text!r} is not a number from {field.lowest} to {field.highest}")
    return number


def _list(values: Sequence[int], size: int) -> str:
    """Values in the list syntax of systemd, ``*`` for all of them."""
    return "*" if len(values) == size else ",".join(f"{value:02d}" for value in values)


def _week(days: Sequence[int]) -> str:
    return "" if len(days) == len(DAYS) else ",".join(DAYS[day].capitalize() for day in days) + " "
