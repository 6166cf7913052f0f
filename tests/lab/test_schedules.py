"""Schedules on real servers: once over the fleet, whoever else is down, and on the way from one server to another."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.support import APPS, AWAY_AFTER, WAIT, Project, eventually, let_pass, snapshot

EVERY = 5

TICK = 'sleep 0.2; echo "tick $(date +%s)"'


@pytest.fixture
def app(tmp_path: Any, fleet: Any) -> Iterator[Project]:
    framework = {"name": "rack", "require": "./probe", "app": "Probe"}
    project = Project(tmp_path, fleet, "clock", APPS / "probe", framework=framework)
    project.manifest["dynos"] = {"web": 1}
    project.manifest["ssh"]["connect_timeout"] = AWAY_AFTER
    project.manifest["schedule"] = [{"name": "tick", "every": f"{EVERY}s", "command": TICK, "timeout": 30}]
    yield project
    project.manifest |= fleet.inventory()
    project.destroy()


def ticks(app: Project, since: float) -> Counter[int]:
    """How often each moment was served since then, over all servers; the last one may still be at work."""
    said = app.dynoctl("logs", "-t", "tick", "--since", "10m", "-n", "1000", code=None).stdout
    found = Counter(int(moment) // EVERY * EVERY for moment in re.findall(r"tick (\d+)", said))
    return Counter({moment: count for moment, count in found.items() if moment >= since})


def once(app: Project, since: float, until: float) -> None:
    """Every moment between is served by one run, and by one only; it waits for those that are still to come."""
    moments = range(int(-(-since // EVERY) * EVERY), int(until) + 1, EVERY)
    assert moments
    eventually(lambda: ticks(app, since).keys() >= set(moments), seconds=max(WAIT, until - since + WAIT))
    found = ticks(app, since)
    assert {moment: found[moment] for moment in moments} == dict.fromkeys(moments, 1), found


def test_once_over_three_servers_and_while_it_moves(app: Project, fleet: Any) -> None:
    before = {name: snapshot(fleet, name) for name in fleet.names}
    assert "schedule of tick.1" in app.dynoctl("plan").stdout
    app.apply()
    app.settled()
    began = time.time()
    row = app.ps()["tick.1"]
    home = row["server"]
    assert row["state"] in ("waiting", "running") and row["job"]["next"] <= EVERY
    timers = {
        name: fleet.exec(name, "sh", "-c", "ls /etc/systemd/system/*.timer 2>/dev/null; :").stdout
        for name in fleet.names
    }
    assert [name for name, found in timers.items() if "clock" in found] == [home]

    # Another server is off; nobody asks it.
    other = next(name for name in fleet.names if name not in (home, app.ps()["web.1"]["server"]))
    fleet.cut(other)
    try:
        let_pass(2 * EVERY, "two moments of the schedule")
        app.dynoctl("apply", "--auto-approve", code=4)
    finally:
        fleet.restore(other)

    # A new release, while it runs every few seconds; nothing is started or ended by that.
    (app.source / "round").write_text("2")
    app.apply()
    said = app.dynoctl("ps").stdout
    assert re.search(rf"=== tick \(every {EVERY}s\): sleep 0.2", said)
    line = rf"tick.1:  \w+  {home}  v2  last: ok \d+s ago, took \d+s  next: in \d+s"
    # During a run, ps does not know how the last one ended.
    eventually(lambda: re.search(line, app.dynoctl("ps").stdout))

    # Its server is emptied: no moment is lost, and none is served twice.
    for server in app.manifest["servers"]:
        server["drain"] = server["name"] == home
    app.apply()
    assert "can be removed from the manifest" in app.dynoctl("plan", "--detailed-exitcode").stdout
    assert app.ps()["tick.1"]["server"] != home
    once(app, began, time.time() + EVERY)
    app.destroy()
    assert {name: snapshot(fleet, name) for name in fleet.names} == before


def test_a_dead_home_is_given_up(app: Project, fleet: Any) -> None:
    app.manifest["schedule"].append({"name": "yearly", "cron": "@yearly", "command": "echo happy"})
    app.apply()
    assert app.ps()["yearly.1"]["job"]["ended"] is None
    home = app.ps()["tick.1"]["server"]
    late = app.ps()["yearly.1"]["server"]
    stamp = "/var/lib/systemd/timers/stamp-dyno-clock-yearly-1.timer"
    fleet.exec(late, "touch", "-d", "-2 years", stamp)
    fleet.kill(home)
    try:
        app.dynoctl("apply", "--auto-approve", "--evacuate", home)
        began = time.time()
        row = app.ps(code=4)["tick.1"]
        assert row["server"] != home
        once(app, began, time.time() + 2 * EVERY)
    finally:
        fleet.start(home)
    # It is back, with what it had, until the next apply. What came while a server was off has run once.
    if late != home:
        fleet.reboot(late)
    app.apply()
    eventually(lambda: app.dynoctl("logs", "-t", "yearly", code=None).stdout.count("happy") == 1)
    began = time.time()
    once(app, began, time.time() + 2 * EVERY)


def test_how_runs_end(app: Project, fleet: Any) -> None:
    app.manifest["schedule"] = [
        {"name": "bad", "every": "2s", "command": "echo no >&2; exit 7"},
        {"name": "long", "every": "2s", "command": "sleep 100", "timeout": 1},
        {
            "name": "slow",
            "every": "1s",
            "command": "date +'began %s'; sleep 5; date +'ended %s'",
            "concurrency": "skip",
        },
        {
            "name": "queue",
            "every": "1s",
            "command": "date +'began %s'; sleep 3; date +'ended %s'",
            "concurrency": "queue",
        },
        {"name": "nightly", "cron": "0 3 * * mon-fri", "command": ["ruby", "-e", "puts 1"]},
    ]
    began = int(time.time())
    app.apply()
    app.settled()

    def job(name: str) -> dict[str, Any]:
        found = app.ps()[f"{name}.1"]["job"]
        assert isinstance(found, dict)
        return found

    eventually(lambda: job("bad")["result"] == "failed with 7")
    eventually(lambda: job("long")["result"] == "timed out")
    nightly = job("nightly")
    assert (nightly["when"], nightly["ended"]) == ("0 3 * * mon-fri", None) and 0 < nightly["next"] < 4 * 86400
    eventually(lambda: job("queue")["result"] == "ok")

    def marks(name: str) -> list[str]:
        said = app.dynoctl("logs", "-t", name, "-n", "100000").stdout  # all: the last lines may begin within a run
        found = [word for word, moment in re.findall(r"(began|ended) (\d+)", said) if int(moment) >= began]
        return found if len(found) >= 3 else []

    for name in ("slow", "queue"):
        words = eventually(lambda name=name: marks(name))  # one comes after the other has ended
        assert words == ["began", "ended"] * (len(words) // 2) + ["began"] * (len(words) % 2), "never two at a time"

    # The calendar changes, and nothing runs because of that; by hand is drift; out of the file is off the server.
    app.manifest["schedule"] = [{"name": "nightly", "cron": "0 4 * * *", "command": ["ruby", "-e", "puts 1"]}]
    app.apply()
    app.settled()
    assert job("nightly")["ended"] is None
    home = app.ps()["nightly.1"]["server"]
    fleet.exec(home, "systemctl", "stop", "dyno-clock-nightly-1.timer")
    assert app.ps()["nightly.1"]["state"] == "stopped"
    drift = app.dynoctl("drift", "--detailed-exitcode", code=2).stdout
    assert "schedule.clock-nightly.1" in drift
    app.apply()
    app.settled()
    # A name is of one kind at a time.
    app.manifest["schedule"] = []
    app.manifest["dynos"]["nightly"] = {"command": "sleep infinity"}
    done = app.dynoctl("apply", "--auto-approve", code=1)
    assert "a schedule with that name exists on the server" in done.stderr and "choose another name" in done.stderr
    del app.manifest["dynos"]["nightly"]
    app.apply()
    app.settled()
    left = fleet.exec(home, "sh", "-c", "ls /etc/systemd/system | grep nightly; id dyno-clock-nightly-1 2>&1; :").stdout
    assert "no such user" in left and "timer" not in left
