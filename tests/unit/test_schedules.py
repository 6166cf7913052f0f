"""A crontab's line as systemd's calendar, and a schedule's units as values."""

from __future__ import annotations

import pytest

from infra.cron import CronError, calendar, every


@pytest.mark.parametrize(
    ("line", "events"),
    [
        ("* * * * *", ["*-*-* *:*:00 UTC"]),
        ("0 3 * * *", ["*-*-* 03:00:00 UTC"]),
        ("*/10 * * * *", ["*-*-* *:00,10,20,30,40,50:00 UTC"]),
        ("5 9-17/4 1,15 * *", ["*-*-01,15 09,13,17:05:00 UTC"]),
        ("0 0 * jan-mar mon-fri", ["Mon,Tue,Wed,Thu,Fri *-01,02,03-* 00:00:00 UTC"]),
        ("0 0 * * 0", ["Sun *-*-* 00:00:00 UTC"]),
        ("0 0 * * 7", ["Sun *-*-* 00:00:00 UTC"]),
        ("0 0 * * 5-7", ["Sun,Fri,Sat *-*-* 00:00:00 UTC"]),
        ("0 0 29 2 *", ["*-02-29 00:00:00 UTC"]),
        # Where both days are named, either will do; where one of them begins with a star, both must.
        ("0 0 13 * 5", ["*-*-13 00:00:00 UTC", "Fri *-*-* 00:00:00 UTC"]),
        ("0 0 */2 * 1", ["Mon *-*-" + ",".join(f"{day:02d}" for day in range(1, 32, 2)) + " 00:00:00 UTC"]),
        ("30/15 * * * *", ["*-*-* *:30,45:00 UTC"]),
        ("@hourly", ["*-*-* *:00:00 UTC"]),
        ("@Weekly", ["Sun *-*-* 00:00:00 UTC"]),
        ("  0\t3 * *   * ", ["*-*-* 03:00:00 UTC"]),
    ],
)
def test_cron(line: str, events: list[str]) -> None:
    assert list(calendar(line)) == events


@pytest.mark.parametrize(
    "line",
    [
        "",
        "* * * *",
        "* * * * * *",
        "@reboot",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "5-1 * * * *",
        "*/0 * * * *",
        "1,,2 * * * *",
        "-1 * * * *",
        "a * * * *",
        "* * * mon *",
        "0 0 31 2 *",
        "0 0 31 4,6 *",
        "1-2-3 * * * *",
        "٣ * * * *",
        "0 0 * * fri-mon",
    ],
)
def test_no_cron(line: str) -> None:
    with pytest.raises(CronError):
        calendar(line)


@pytest.mark.parametrize(
    ("span", "event"),
    [
        ("1s", "*-*-* *:*:* UTC"),
        ("30s", "*-*-* *:*:00,30 UTC"),
        ("60s", "*-*-* *:*:00 UTC"),
        ("10m", "*-*-* *:00,10,20,30,40,50:00 UTC"),
        ("60m", "*-*-* *:00:00 UTC"),
        ("1h", "*-*-* *:00:00 UTC"),
        ("8h", "*-*-* 00,08,16:00:00 UTC"),
        ("1d", "*-*-* 00:00:00 UTC"),
        ("24h", "*-*-* 00:00:00 UTC"),
    ],
)
def test_every(span: str, event: str) -> None:
    assert every(span) == (event,)


@pytest.mark.parametrize("span", ["7m", "5h", "90s", "90m", "2d", "0s", "10", "m", "1w", "-5m", "1.5h", "10 m"])
def test_not_every(span: str) -> None:
    with pytest.raises(CronError):
        every(span)
