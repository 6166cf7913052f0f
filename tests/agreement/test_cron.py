"""Cron expressions run when crontab(5) says: generated expressions, compared with systemd-analyze calendar."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.manifest.cron import DAYS, MONTHS, CronError, calendar, every
from tests.agreement.tools import GENERATED, calendar_times

BASE = datetime(2027, 12, 30, 23, 58, 30, tzinfo=UTC)
"""Shortly before a new year, and two months before a leap day, so that both occur early."""
TIMES = 8
YEARS = 30
SECOND = "%Y-%m-%d %H:%M:%S"


@st.composite
def field(draw: st.DrawFn, lowest: int, highest: int, names: tuple[str, ...] = ()) -> str:
    """A field of a cron expression: stars, numbers, names, ranges, steps, and lists of them."""

    def number(value: int) -> str:
        index = value - lowest
        forms = [str(value), f"{value:02d}", *([names[index], names[index].upper()] if index < len(names) else [])]
        return draw(st.sampled_from(forms))

    def part() -> str:
        step = draw(st.sampled_from(("", "", "", "/1", "/2", "/3", "/7", "/10", "/25", "/40", "/99")))
        if draw(st.booleans()):
            return f"*{step}"
        first = draw(st.integers(lowest, highest))
        if draw(st.booleans()):
            return number(first) + step
        return f"{number(first)}-{number(draw(st.integers(first, highest)))}{step}"

    if draw(st.integers(0, 3)) == 0:
        return "*"
    return ",".join(part() for _ in range(draw(st.integers(1, 3))))


LINES = st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12, MONTHS), field(0, 7, DAYS)).map(" ".join)


def members(text: str, lowest: int, highest: int, names: tuple[str, ...] = ()) -> set[int]:
    """The values of a field by crontab(5), in the simplest implementation: each value of the range is tested."""

    def number(word: str) -> int:
        return names.index(word.lower()) + lowest if word.lower() in names else int(word)

    found = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        low = lowest if span == "*" else number(first)
        high = highest if span == "*" or (step and not last) else number(last or first)
        found |= {value for value in range(low, high + 1) if (value - low) % int(step or 1) == 0}
    return found


def by_crontab(line: str) -> Iterator[datetime]:
    """The scheduled times of a cron expression by crontab(5), in order."""
    minute, hour, day, month, weekday = line.split()
    minutes, hours = sorted(members(minute, 0, 59)), sorted(members(hour, 0, 23))
    days, months = members(day, 1, 31), members(month, 1, 12, MONTHS)
    weekdays = {number % 7 for number in members(weekday, 0, 7, DAYS)}
    either = not (day.startswith("*") or weekday.startswith("*"))
    at = BASE.replace(hour=0, minute=0, second=0)
    for _ in range(YEARS * 366):
        dated, named = at.day in days, (at.weekday() + 1) % 7 in weekdays
        if at.month in months and (dated or named if either else dated and named):
            times = (at.replace(hour=h, minute=m) for h in hours for m in minutes)
            yield from (time for time in times if time > BASE)
        at += timedelta(days=1)


def stamps(times: Iterator[datetime], count: int) -> list[str]:
    return [time.strftime(SECOND) for time, _ in zip(times, range(count), strict=False)]


def by_systemd(events: list[tuple[str, ...]], count: int) -> list[list[str]]:
    """The times of several timers by their ``OnCalendar=`` values, without duplicates, computed by systemd."""
    flat = [event for values in events for event in values]
    asked = iter(calendar_times(flat, BASE.strftime(f"{SECOND} UTC"), count))
    found = []
    for values in events:
        times = {time for _ in values for time in next(asked) if time != "never"}
        found.append(sorted(" ".join(time.split()[1:3]) for time in times)[:count])
    return found


@settings(GENERATED, max_examples=25)
@given(st.lists(LINES, min_size=20, max_size=20))
def test_generated_lines(lines: list[str]) -> None:
    good, events = [], []
    for line in lines:
        try:
            events.append(calendar(line))
            good.append(line)
        except CronError:
            assert next(by_crontab(line), None) is None, f"{line!r} is refused, but it has scheduled times"
    for line, event, times in zip(good, events, by_systemd(events, TIMES), strict=True):
        assert times, f"{line!r} is {event}, which never elapses"
        assert times == stamps(by_crontab(line), TIMES), f"{line!r} is {event}"


def test_every_accepted_interval_is_even() -> None:
    """Tests all intervals: there are fewer than 200."""
    spans: dict[str, int] = {}
    for unit, seconds in {"s": 1, "m": 60, "h": 3600, "d": 86400}.items():
        for number in range(1, 86400 // seconds + 2):
            try:
                every(f"{number}{unit}")
            except CronError:
                continue
            spans[f"{number}{unit}"] = number * seconds
    assert {60 % seconds for seconds in spans.values() if seconds < 60} == {0} and len(spans) > 40
    found = by_systemd([every(span) for span in spans], TIMES)
    for (span, seconds), times in zip(spans.items(), found, strict=True):
        at = [datetime.strptime(time, SECOND).replace(tzinfo=UTC) for time in times]
        assert {after - before for before, after in pairwise(at)} == {timedelta(seconds=seconds)}, span
        assert timedelta() < at[0] - BASE <= timedelta(seconds=seconds), span
