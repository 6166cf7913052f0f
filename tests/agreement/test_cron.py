"""A crontab's line comes when crontab(5) says, on systemd's clock: generated lines, asked of systemd as well."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.manifest.cron import DAYS, MONTHS, CronError, calendar, every
from tests.agreement.tools import GENERATED, calendar_moments

BASE = datetime(2027, 12, 30, 23, 58, 30, tzinfo=UTC)
"""Near the end of a year, and two years before a leap day is due again: both come up soon."""
MOMENTS = 8
YEARS = 30
SECOND = "%Y-%m-%d %H:%M:%S"


@st.composite
def field(draw: st.DrawFn, lowest: int, highest: int, names: tuple[str, ...] = ()) -> str:
    """One field: stars, numbers, names, ranges, steps, and lists of them."""

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
    """A field by crontab(5), read in the plainest way: each value of the range is asked whether it is meant."""

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
    """The moments of a line, one after the other, as crontab(5) says."""
    minute, hour, day, month, weekday = line.split()
    minutes, hours = sorted(members(minute, 0, 59)), sorted(members(hour, 0, 23))
    days, months = members(day, 1, 31), members(month, 1, 12, MONTHS)
    weekdays = {one % 7 for one in members(weekday, 0, 7, DAYS)}
    either = not (day.startswith("*") or weekday.startswith("*"))
    at = BASE.replace(hour=0, minute=0, second=0)
    for _ in range(YEARS * 366):
        dated, named = at.day in days, (at.weekday() + 1) % 7 in weekdays
        if at.month in months and (dated or named if either else dated and named):
            moments = (at.replace(hour=one, minute=two) for one in hours for two in minutes)
            yield from (moment for moment in moments if moment > BASE)
        at += timedelta(days=1)


def stamps(moments: Iterator[datetime], count: int) -> list[str]:
    return [moment.strftime(SECOND) for moment, _ in zip(moments, range(count), strict=False)]


def by_systemd(events: list[tuple[str, ...]], count: int) -> list[list[str]]:
    """The moments of several timers with their ``OnCalendar=`` values, each moment once however many values mean it."""
    flat = [event for one in events for event in one]
    asked = iter(calendar_moments(flat, BASE.strftime(f"{SECOND} UTC"), count))
    found = []
    for one in events:
        moments = {moment for _ in one for moment in next(asked) if moment != "never"}
        found.append(sorted(" ".join(moment.split()[1:3]) for moment in moments)[:count])
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
            assert next(by_crontab(line), None) is None, f"{line!r} comes, and is refused"
    for line, event, moments in zip(good, events, by_systemd(events, MOMENTS), strict=True):
        assert moments, f"{line!r} is {event}, which never comes"
        assert moments == stamps(by_crontab(line), MOMENTS), f"{line!r} is {event}"


def test_every_span_that_is_taken_comes_evenly() -> None:
    """All of them: there are fewer than 200."""
    spans: dict[str, int] = {}
    for unit, seconds in {"s": 1, "m": 60, "h": 3600, "d": 86400}.items():
        for number in range(1, 86400 // seconds + 2):
            try:
                every(f"{number}{unit}")
            except CronError:
                continue
            spans[f"{number}{unit}"] = number * seconds
    assert {60 % one for one in spans.values() if one < 60} == {0} and len(spans) > 40
    found = by_systemd([every(span) for span in spans], MOMENTS)
    for (span, seconds), moments in zip(spans.items(), found, strict=True):
        at = [datetime.strptime(moment, SECOND).replace(tzinfo=UTC) for moment in moments]
        assert {two - one for one, two in pairwise(at)} == {timedelta(seconds=seconds)}, span
        assert timedelta() < at[0] - BASE <= timedelta(seconds=seconds), span
