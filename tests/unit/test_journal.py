"""Log lines: their dyno, their order and their output; and the parsing of times."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from infra.cli.time_argument import since
from infra.errors import DynoctlError
from infra.ops import journal
from infra.ops.journal import Line, Merger, Reader, Wanted, in_order, newest
from infra.views import logs as view


def entry(message: object = "hello", **fields: object) -> str:
    base = {
        "__REALTIME_TIMESTAMP": "1700000000123456",
        "__CURSOR": "s=1;i=2",
        "_SYSTEMD_UNIT": "dyno-shop-web-1.service",
    }
    return json.dumps({**base, "MESSAGE": message, **fields})


def line(time: int, server: str = "a", dyno: str = "web.1", message: str = "") -> Line:
    return Line(time, server, dyno, "app", message)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        (entry(), ("web.1", "app", "hello")),
        (entry(_SYSTEMD_UNIT="dyno-shop-web-12-ready.service"), ("web.12", "health", "hello")),
        (entry(_SYSTEMD_UNIT="init.scope", _PID="1", UNIT="dyno-shop-web-2.service"), ("web.2", "systemd", "hello")),
        (entry(_SYSTEMD_UNIT="dynoctl-run-shop.4f3a.service"), ("run.4f3a", "app", "hello")),
        (entry(_SYSTEMD_UNIT="dynoctl-candidate-shop.1a.service"), ("candidate.1a", "app", "hello")),
        (entry([104, 105, 255]), ("web.1", "app", "hi\N{REPLACEMENT CHARACTER}")),
        (entry(["one", "two"]), ("web.1", "app", "one\ntwo")),
        (entry(None), ("web.1", "app", "")),
        # Lines of another app, and lines that only claim to be of this app.
        (entry(_SYSTEMD_UNIT="dyno-shop-admin-web-1.service"), None),
        (entry(_SYSTEMD_UNIT="dynoctl-run-shop-admin.4f3a.service"), None),
        (entry(_SYSTEMD_UNIT="cron.service", _PID="77", UNIT="dyno-shop-web-1.service"), None),
        (entry(_SYSTEMD_UNIT="init.scope", _PID="1", UNIT="cron.service"), None),
        (entry(_SYSTEMD_UNIT="init.scope", _PID="1", UNIT="dyno-shop-web-1-ready.service"), None),
        (entry(__REALTIME_TIMESTAMP=None), None),
        (entry(__REALTIME_TIMESTAMP="9" * 18), None),
        (entry(__REALTIME_TIMESTAMP="\N{SUPERSCRIPT TWO}"), None),
        ("[" * 100_000, None),
        ('{"MESSAGE":' + "[" * 100_000, None),
        (entry(PRIORITY="\N{SUPERSCRIPT TWO}"), ("web.1", "app", "hello")),
        ("-- no json --", None),
        ("[]", None),
    ],
)
def test_the_dyno_of_a_line(text: str, means: tuple[str, str, str] | None) -> None:
    found = Reader("shop", "grid-1").read(text)
    assert (None if found is None else (found.dyno, found.source, found.message)) == means


def test_lines_are_merged_by_time_in_the_order_of_each_server() -> None:
    a = [line(1), line(5), line(3, message="the clock was set back"), line(9)]
    b = [line(2, "b"), line(4, "b"), line(8, "b")]
    merged = list(in_order([a, b]))
    assert [one for one in merged if one.server == "a"] == a
    assert [one.time for one in merged] == [1, 2, 4, 5, 3, 8, 9]
    backwards = list(in_order([a[::-1], b[::-1]], backwards=True))
    assert [one for one in backwards if one.server == "a"] == a[::-1]
    assert list(newest(iter(backwards), 2)) == backwards[1::-1]
    assert list(newest(iter(backwards), 0)) == []
    assert list(newest(iter(backwards), 100)) == backwards[::-1]


def test_lines_are_taken_one_by_one_and_the_last_of_many_come_from_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    def endless() -> Iterator[Line]:
        nonlocal taken
        while True:
            taken += 1
            yield line(taken)

    assert [one.time for one in islice(in_order([endless(), [line(2, "b"), line(5, "b")]]), 4)] == [1, 2, 2, 3]
    assert taken < 6
    many = [line(10_000 - number, message="x" * (number % 5000)) for number in range(5000)]
    assert list(newest(iter(many), 4000)) == many[3999::-1]
    monkeypatch.setattr(journal, "ON_DISK", 1 << 20)
    with pytest.raises(DynoctlError, match="the last 5000 lines are larger than"):
        list(newest(iter(many), 5000))


def test_late_lines_are_put_in_order() -> None:
    lines = [line(time, f"s{time % 8}") for time in range(1000)]
    merger, out = Merger(0.25), []
    # The lines of each server arrive in order, those of slower servers up to 0.2 s late.
    arrivals = sorted(((one.time / 1000 + 0.03 * (one.time % 8 % 7), one) for one in lines), key=lambda pair: pair[0])
    for now, one in arrivals:
        out += merger.due(now)
        merger.add(one, now)
    out += merger.rest()
    assert len(out) == 1000
    assert [one.time for one in out] != [arrival.time for _, arrival in arrivals], "they arrived out of order"
    assert [one.time for one in out] == list(range(1000))


def test_nothing_is_held_back_longer_than_the_window() -> None:
    merger = Merger(0.25)
    merger.add(line(5), 10.0)
    assert list(merger.due(10.2)) == []
    assert merger.wait(10.2, 9) == pytest.approx(0.05)
    assert [one.time for one in merger.due(10.25)] == [5]
    assert merger.wait(10.3, 9) == 9


def test_the_selected_dynos() -> None:
    assert "web.1" in Wanted() and "run.1a" in Wanted()
    chosen = Wanted(("web",), ("worker.2",))
    assert [dyno in chosen for dyno in ("web.7", "worker.2", "worker.1", "webby.1")] == [True, True, False, False]
    pattern = re.compile(chosen.pattern("shop"))
    assert pattern.match("dyno-shop-web-12") and pattern.match("dyno-shop-worker-2")
    for other in ("dyno-shop-worker-21", "dyno-shop-admin-web-1", "dyno-shop-web-1-ready", "dyno-shop-web-01"):
        assert not pattern.match(other)
    assert not re.match(Wanted().pattern("shop"), "dyno-shop-admin-web-1")


def test_an_apps_message_neither_drives_the_terminal_nor_forges_a_line() -> None:
    evil = "\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b[2J\x9b2J\r\n2026-01-01T00:00:00+00:00 app[web.2]: forged\u202e"
    text = view.text(line(0, message=evil), color=False)
    assert "\x1b" not in text and "\x9b" not in text and "\r" not in text and "\u202e" not in text
    assert text.split("\n")[0].endswith("app[web.1]: red\\x1b]0;title\\x07\\x1b[2J\\x9b2J")
    assert all(one.startswith("1970-01-01T00:00:00.000000+00:00 app[web.1]:") for one in text.split("\n"))
    document = view.as_json(line(0, message=evil))
    assert document.isascii() and document.isprintable()
    assert json.loads(document)["message"] == evil


def test_a_dyno_has_one_colour_and_its_neighbours_others() -> None:
    colors = [view.color_of(f"web.{number}") for number in range(1, 9)]
    assert len(set(colors)) == 8
    assert view.color_of("web.3") == colors[2]
    assert view.text(line(0, message="x"), color=True).startswith(f"\x1b[38;5;{colors[0]}m1970")
    assert view.color_of("run.4f3a")


NOW = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("10m", timedelta(minutes=10)),
        ("1h 30m", timedelta(minutes=90)),
        ("2 hours ago", timedelta(hours=2)),
        ("-90s", timedelta(seconds=90)),
        ("1w", timedelta(days=7)),
        ("now", timedelta()),
        ("today", timedelta(hours=14, minutes=30)),
        ("yesterday", timedelta(hours=38, minutes=30)),
        ("14:00", timedelta(minutes=30)),
        ("2026-11-23T14:20", timedelta(minutes=10)),
        ("2026-11-23 14:20:00+01:00", timedelta(minutes=70)),
    ],
)
def test_moments(text: str, ago: timedelta) -> None:
    assert since(text, NOW) == pytest.approx((NOW - ago).timestamp())


@pytest.mark.parametrize("text", ["", "soon", "10", "25:00", "2026-13-01", "10x", "9999999999999d", "$(id)", "@5"])
def test_an_invalid_time_is_an_error(text: str) -> None:
    with pytest.raises(DynoctlError, match="invalid time"):
        since(text, NOW)
