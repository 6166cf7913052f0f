"""A crontab's line as systemd's calendar, and a schedule's units as values."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from infra.fleet.observe import Observed
from infra.manifest.cron import CronError, calendar, every
from infra.manifest.model import Schedule
from infra.model import paths
from infra.model.formation import Formation
from infra.model.provider import Scope
from infra.model.resource import Action, Attributes, Change, Command, Found, Resource
from infra.plan.build import build
from infra.registry import Everything
from providers import ini, schedule, timer_moves
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
    lines = [line for other in others for line in (f"file {other}.service", f"{other}.service", "=[Unit]")]
    for suffix, part in ((".service", "unit"), (".timer", "timer"), ("-due.service", "due")):
        settings = cast(Mapping[str, str], WANTED[part])
        name = f"dyno-shop-tick-1{suffix}"
        lines += [f"file {name}", name, *(f"={line}" for line in ini.render(settings).splitlines())]
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


TIMER = "dyno-shop-tick-1.timer"
STAMP = f"/var/lib/systemd/timers/stamp-{TIMER}"


def change(before: Attributes | None, after: Attributes | None) -> Change:
    resource = Resource("grid-1", "schedule", "shop-tick.1", after or {}, "tick.1")
    return Change(
        resource, Action.CREATE if before is None else Action.DELETE if after is None else Action.UPDATE, before, after
    )


def words(before: Attributes | None, after: Attributes | None, handed: str | None = None) -> list[tuple[str, ...]]:
    scope = Scope("shop", "s", handed={} if handed is None else {"tick.1": handed})
    return [step.argv for step in schedule.Schedule().steps(scope, change(before, after))]


def since(before: Attributes | None, after: Attributes, handed: str | None = None) -> str:
    """The time that the timer starts from; "" is that of its stamp."""
    argv = words(before, after, handed)[-1]
    assert argv[3:6] == ("start", TIMER, STAMP)
    return argv[6]


def test_a_new_release_starts_nothing_and_a_new_calendar_counts_from_now() -> None:
    new = {**WANTED, "unit": {**cast(Mapping[str, str], WANTED["unit"]), "Service.ExecStart": "other"}}
    assert not any("start" in argv for argv in words(WANTED, new))
    assert ("systemctl", "daemon-reload") in words(WANTED, new)
    later = {**WANTED, "timer": {**cast(Mapping[str, str], WANTED["timer"]), "Timer.OnCalendar": "daily"}}
    assert since(WANTED, later) == "now" and since(None, WANTED) == "now"
    without = {**WANTED, "due": {}}
    assert any("dyno-shop-tick-1-due.service" in " ".join(argv) for argv in words(WANTED, without))


def test_a_timer_continues_from_its_last_time_with_the_same_calendar() -> None:
    same = {**WANTED, "timer": {**cast(Mapping[str, str], WANTED["timer"]), "Timer.Unit": "dyno-shop-tick-1.service"}}
    assert since(WANTED, same) == "", "a time that is just due is not lost"
    assert since({**WANTED, "state": "paused", "enabled": False}, WANTED) == "", "its move was interrupted"
    assert since({**WANTED, "state": "stopped"}, WANTED) == "now", "it was stopped by hand"


@pytest.mark.parametrize(
    ("handed", "moment"),
    [
        ("1790000000.123456789 *-*-* *:00:00 UTC", "@1790000000.123456789"),
        ("1790000000 *-*-* *:00:00 UTC", "@1790000000"),
        ("1790000000.5 *-*-* 03:00:00 UTC", "now"),  # another calendar
        ("", "now"),  # it did not run there
        ("-1 *-*-* *:00:00 UTC", "now"),
        ("yesterday *-*-* *:00:00 UTC", "now"),
        ("$(reboot) *-*-* *:00:00 UTC", "now"),
    ],
)
def test_a_schedule_that_moves_takes_its_last_time_along(handed: str, moment: str) -> None:
    assert since(None, WANTED, handed) == moment
    stopped = {**WANTED, "state": "stopped", "enabled": False}
    assert since(stopped, WANTED, handed) == moment


def test_a_timer_stopped_on_its_way_is_paused() -> None:
    stopped = listing(ActiveState="inactive", UnitFileState="disabled")
    states = {
        text: schedule.Schedule()
        .parse(Scope("shop", "s"), f"paused {text}\n{stopped}")["shop-tick.1"]
        .attributes["state"]
        for text in ("tick.1", "other.1")
    }
    assert states == {"tick.1": "paused", "other.1": "stopped"}
    running = schedule.Schedule().parse(Scope("shop", "s"), f"paused tick.1\n{listing()}")
    assert running["shop-tick.1"].attributes["state"] == "waiting"
    assert schedule.Schedule().dormant({"state": "paused"}) and not schedule.Schedule().dormant(WANTED)


SYSTEMCTL = """\
#!/bin/sh
# $STATES has a file for each unit that is active, with its state.
verb=$1; shift
[ "$verb" != --no-reload ] || { verb=$1; shift; }
case $verb in
  show) cat "$STATES/$4" 2>/dev/null || echo inactive ;;
  is-active) [ -e "$STATES/$2" ] ;;
  stop) rm -f "$STATES/$1" ;;
  start|restart) echo active > "$STATES/$1" ;;
esac
"""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a systemctl of its own, the stamps and the markers."""
    for name in ("bin", "states", "stamps"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin/systemctl").write_text(SYSTEMCTL)
    (tmp_path / "bin/systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("STATES", str(tmp_path / "states"))
    monkeypatch.setattr(timer_moves, "STAMPS", str(tmp_path / "stamps"))
    monkeypatch.setattr(paths, "moving", lambda app: str(tmp_path / "moving"))
    return tmp_path


def run(commands: Sequence[Command]) -> subprocess.CompletedProcess[str]:
    (command,) = commands
    return subprocess.run(command.argv, capture_output=True, text=True, check=False)


def test_a_paused_timer_prints_its_last_time_and_resumes(systemd: Path) -> None:
    timer, stamp, marker = systemd / "states" / TIMER, systemd / "stamps" / f"stamp-{TIMER}", systemd / "moving/tick.1"
    leaves, scope = change(WANTED, None), Scope("shop", "s")
    timer.write_text("active\n")
    stamp.touch()
    os.utime(stamp, (1790000000.25, 1790000000.25))
    paused = [run(schedule.Schedule().pause(scope, leaves)) for _ in range(2)]
    assert [done.stdout for done in paused] == ["1790000000.250000000 *-*-* *:00:00 UTC\n"] * 2, "also the second time"
    assert not timer.exists() and marker.exists()
    assert run(schedule.Schedule().resume(scope, leaves)).returncode == 0
    assert timer.exists() and not marker.parent.exists() and stamp.stat().st_mtime == 1790000000.25
    told = Scope("shop", "s", handed={"tick.1": "1790003600.5 *-*-* *:00:00 UTC"})
    assert run(schedule.Schedule().resume(told, leaves)).returncode == 0
    assert stamp.stat().st_mtime == 1790003600.5, "it ran on the other server meanwhile"


def test_a_timer_that_was_stopped_by_hand_has_no_time_to_continue_from(systemd: Path) -> None:
    assert run(schedule.Schedule().pause(Scope("shop", "s"), change(WANTED, None))).stdout == ""


def test_a_queued_time_moves_and_a_run_under_way_does_not(systemd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "PATIENCE", 0)
    leaves, scope = change(WANTED, None), Scope("shop", "s")
    (systemd / "states" / TIMER).write_text("active\n")
    (systemd / "states/dyno-shop-tick-1-due.service").write_text("activating\n")
    (systemd / "states/dyno-shop-tick-1.service").write_text("activating\n")
    stamp = systemd / "stamps" / f"stamp-{TIMER}"
    stamp.touch()
    os.utime(stamp, (1790000000.25, 1790000000.25))
    done = run(schedule.Schedule().pause(scope, leaves))
    assert (done.returncode, done.stdout) == (1, "its current run has not ended after 0 s\n")
    (systemd / "states/dyno-shop-tick-1.service").unlink()
    assert run(schedule.Schedule().pause(scope, leaves)).stdout.startswith("1789999998.000000000 ")


@pytest.mark.parametrize(("ahead", "status"), [(0.2, 0), (600, 1)])
def test_a_server_whose_clock_is_behind_waits_or_refuses(systemd: Path, ahead: float, status: int) -> None:
    handed = {"tick.1": f"{time.time() + ahead:.3f} *-*-* *:00:00 UTC"}
    start = schedule.Schedule().steps(Scope("shop", "s", handed=handed), change(None, WANTED))[-1]
    began = time.time()
    done = run([start])
    assert done.returncode == status and (systemd / "states" / TIMER).exists() == (status == 0)
    assert (time.time() > began + ahead) if status == 0 else "behind the one" in done.stdout


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


def test_a_timer_that_somebody_made_for_a_dyno_is_not_ours() -> None:
    """It was planned away as a schedule, together with the service of the dyno."""
    timer = "dyno-shop-web-1.timer\n=[Timer]\n=OnCalendar=daily\n=Unit=dyno-shop-web-1.service"
    listed = f"other dyno-shop-web-1.service\nfile dyno-shop-web-1.timer\n{timer}"
    assert schedule.Schedule().parse(Scope("shop", "s"), listed)["shop-web.1"].foreign
    for empty in ("file dyno-shop-web-1.timer", listing()):
        assert all(found.managed for found in schedule.Schedule().parse(Scope("shop", "s"), empty).values())


def test_a_timer_without_its_service_leaves_the_dyno_of_its_name_alone(systemd: Path) -> None:
    """A removal that was cut off leaves the timer, and by then a process type may have the name."""
    steps = schedule.Schedule().steps(Scope("shop", "s"), change({**WANTED, "unit": {}}, None))
    assert "dyno-shop-tick-1" not in [word for step in steps if step.argv[3:4] == ("slice",) for word in step.argv]
    service, stopped = "/etc/systemd/system/dyno-shop-tick-1.service", "dyno-shop-tick-1.service"
    touching = [step for step in steps if {service, stopped} & {*step.argv}]
    assert [step.argv[3] for step in touching] == ["empty"], "the service is neither stopped nor removed otherwise"
    file, state = systemd / "service", systemd / "states" / stopped
    for text in ("[Service]\n", ""):
        file.write_text(text)
        state.write_text("active\n")
        argv = [str(file) if word == service else word for word in touching[0].argv]
        assert subprocess.run(argv, check=False).returncode == 0
        assert file.exists() == state.exists() == bool(text)


def test_a_schedule_without_a_quota_has_what_others_leave() -> None:
    def limits(cpu: int) -> tuple[object, ...]:
        unit = cast(Mapping[str, str], schedule.attributes(replace(DYNO, cpu=cpu), JOB)["unit"])
        return unit["Service.CPUQuota"], unit.get("Service.CPUWeight"), unit["Unit.X-Dynoctl-Cpu"]

    assert limits(0) == ("100%", "1", "0")
    assert limits(10) == ("1%", None, "10")
