"""A crontab's line as systemd's calendar, and a schedule's units as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pytest

from infra.fleet.observe import Observed
from infra.manifest.cron import CronError, calendar, every
from infra.manifest.model import Schedule
from infra.model.formation import Formation
from infra.model.provider import Scope
from infra.model.resource import Action, Attributes, Change, Found, Resource
from infra.plan.build import build
from infra.registry import Everything
from providers import ini, schedule
from providers.dyno_unit import DynoUnit
from tests.unit.test_engine import facts


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


JOB = Schedule("tick", "echo 'hi'", ("*-*-* *:00:00 UTC",), "every 1h", timeout=60, concurrency="queue")
DYNO = DynoUnit("shop", "tick.1", ("/bin/sh", "-c", "echo 'hi'"), {}, "cafe", cpu=250, memory=1 << 29)
WANTED = schedule.attributes(DYNO, JOB)


def listing(*others: str, **states: str) -> str:
    """What a server with this schedule prints."""
    lines = [f"other {other}.service" for other in others]
    for suffix, part in ((".service", "unit"), (".timer", "timer"), ("-due.service", "due")):
        settings = cast(Mapping[str, str], WANTED[part])
        lines += [f"dyno-shop-tick-1{suffix}:{line}" for line in ini.render(settings).splitlines()]
    for suffix in (".service", ".timer"):
        state = {"Id": f"dyno-shop-tick-1{suffix}", "ActiveState": "active", "UnitFileState": "enabled"} | states
        lines += [*(f"{key}={value}" for key, value in state.items()), ""]
    return "\n".join(lines)


def test_what_is_written_is_what_is_read() -> None:
    found = schedule.Schedule().parse(Scope("shop", "s"), listing("dyno-shop-web-1", "dyno-shop-admin-web-1"))
    assert found == {
        "shop-tick.1": Found(WANTED),
        "shop-web.1": Found({}, blocked="a process type with that name runs on the server"),
    }
    stopped = schedule.Schedule().parse(Scope("shop", "s"), listing(ActiveState="inactive", UnitFileState="disabled"))
    assert (stopped["shop-tick.1"].attributes["state"], stopped["shop-tick.1"].attributes["enabled"]) == (
        "stopped",
        False,
    )
    stale = schedule.Schedule().parse(Scope("shop", "s"), listing(NeedDaemonReload="yes"))
    assert stale["shop-tick.1"].attributes["state"] == "outdated"


def words(before: Attributes | None, after: Attributes | None, handed: float = 0.0) -> list[tuple[str, ...]]:
    resource = Resource("grid-1", "schedule", "shop-tick.1", after or {}, "tick.1")
    action = Action.CREATE if before is None else Action.DELETE if after is None else Action.UPDATE
    change = Change(resource, action, before, after)
    return [step.argv for step in schedule.Schedule().steps(Scope("shop", "s", handed=handed), change)]


def test_a_new_release_starts_nothing_and_a_new_calendar_counts_from_now() -> None:
    new = {**WANTED, "unit": {**cast(Mapping[str, str], WANTED["unit"]), "Service.ExecStart": "other"}}
    assert not any("start" in argv for argv in words(WANTED, new))
    assert ("systemctl", "daemon-reload") in words(WANTED, new)
    later = {**WANTED, "timer": {**cast(Mapping[str, str], WANTED["timer"]), "Timer.OnCalendar": "daily"}}
    assert words(WANTED, later)[-1][3:] == (
        "start",
        "dyno-shop-tick-1.timer",
        "/var/lib/systemd/timers/stamp-dyno-shop-tick-1.timer",
        "now",
    )
    assert words(None, WANTED, handed=12.5)[-1][-1] == "@12.500", "it goes on where it was stopped"
    without = {**WANTED, "due": {}}
    assert any("dyno-shop-tick-1-due.service" in " ".join(argv) for argv in words(WANTED, without))


def test_a_schedule_that_an_apply_left_pending_is_settled_without_a_restart() -> None:
    desired = [Resource("grid-1", "schedule", "shop-tick.1", WANTED, "tick.1")]
    observed = Observed(facts(pending=frozenset({"tick.1"})), {"schedule.shop-tick.1": Found(WANTED)})
    plan = build("shop", desired, {"grid-1": observed}, Formation((), {}, {}), Everything.providers, {})
    (change,) = plan.changes
    assert (change.action, change.effect, plan.batches) == ("restart", None, ())
    assert "interrupted" in change.reason


def test_a_name_is_of_one_kind_at_a_time() -> None:
    desired = [Resource("grid-1", "schedule", "shop-web.1", WANTED, "web.1")]
    there = {"schedule.shop-web.1": Found({}, blocked="a process type with that name runs on the server")}
    plan = build("shop", desired, {"grid-1": Observed(facts(), there)}, Formation((), {}, {}), Everything.providers, {})
    (error,) = plan.errors
    assert error.summary.endswith("cannot be created: a process type with that name runs on the server")
    gone = build("shop", [], {"grid-1": Observed(facts(), there)}, Formation((), {}, {}), Everything.providers, {})
    assert gone.changes == (), "and it is nobody's to take away"
