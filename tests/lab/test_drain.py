"""A server is emptied while its app is under load, or given up when it is dead; no dyno is lost, and none is doubled."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.lab.load import Load
from tests.lab.support import APPS, AWAY_AFTER, Project, eventually, snapshot


@pytest.fixture
def app(tmp_path: Path, fleet: Any) -> Any:
    framework = {"name": "rack", "require": "./probe", "app": "Probe"}
    project = Project(tmp_path, fleet, "drain", APPS / "probe", framework=framework)
    project.manifest["dynos"] = {"web": 4}
    project.manifest["ssh"]["connect_timeout"] = AWAY_AFTER
    yield project
    project.manifest |= fleet.inventory()
    project.destroy()


def drain(app: Project, *names: str) -> None:
    for server in app.manifest["servers"]:
        server.pop("drain", None)
        if server["name"] in names:
            server["drain"] = True


def units(fleet: Any) -> Counter[str]:
    """How often each dyno's unit is there, over all servers."""
    found: Counter[str] = Counter()
    for server in fleet.names:
        listing = "ls /etc/systemd/system | grep -x 'dyno-drain-web-[0-9]*.service'; :"
        found.update(fleet.exec(server, "sh", "-c", listing).stdout.split())
    return found


def test_a_server_drains_under_load_and_leaves(app: Project, fleet: Any) -> None:
    before = snapshot(fleet, "grid-2")
    app.apply()
    there = app.ps()
    moving = [name for name, row in there.items() if row["server"] == "grid-2"]
    staying = {name: row for name, row in there.items() if row["server"] != "grid-2"}
    assert moving and staying

    drain(app, *fleet.names)
    done = app.dynoctl("apply", "--auto-approve", code=1)
    assert "no capacity for 4 dynos" in done.stderr and "without the draining grid-1, grid-2, grid-3" in done.stderr
    assert {name: row["pid"] for name, row in app.ps().items()} == {name: row["pid"] for name, row in there.items()}
    assert units(fleet).total() == 4, "nothing moves"

    drain(app, "grid-2")
    text = app.dynoctl("plan").stdout
    assert f"Note: grid-2 is draining: {moving[0]} moves to grid-" in text
    assert f"{moving[0]} (from grid-2)" in text and f"{moving[0]} moves to grid-" in text
    with Load(staying.values(), "/") as load:
        lines = app.dynoctl("apply", "--auto-approve", "--json").stdout.splitlines()
    assert load.failures == [] and load.count > 50, load
    events = [json.loads(line) for line in lines]
    said = [
        (event["server"], event["text"]) for event in events if event["type"] == "event" and event["event"] == "done"
    ]
    words = [text for server, text in said if text in ("started", "stopped")]
    assert words == ["started"] * len(moving) + ["stopped"] * len(moving), "the new ones first"
    rows = app.ps()
    assert {row["server"] for row in rows.values()} == {"grid-1", "grid-3"}
    assert all(rows[name]["pid"] == row["pid"] for name, row in staying.items()), "what could stay was not touched"
    assert snapshot(fleet, "grid-2") == before, "nothing of the app is left"
    text = app.dynoctl("plan", "--detailed-exitcode").stdout
    assert "Note: grid-2 is draining: it has no dynos left and can be removed from the manifest." in text

    # A second one drains while the release changes: what stays restarts, what moves starts with the new one.
    drain(app, "grid-2", "grid-3")
    (app.source / "round").write_text("2")
    stays = {name: row for name, row in rows.items() if row["server"] == "grid-1"}
    with Load(stays.values(), "/") as load:
        app.apply()
    assert load.failures == [], load
    last = app.ps()
    assert {(row["server"], row["state"]) for row in last.values()} == {("grid-1", "up")}
    assert len({row["slug"] for row in last.values()} | {next(iter(rows.values()))["slug"]}) == 2

    app.manifest["servers"] = [server for server in app.manifest["servers"] if server["name"] == "grid-1"]
    app.settled()
    assert units(fleet).total() == 4


def test_a_dead_server_is_given_up_and_comes_back(app: Project, fleet: Any) -> None:
    app.manifest["dynos"]["web"] = 3
    app.apply()
    lost = next(name for name, row in app.ps().items() if row["server"] == "grid-3")
    assert (
        "reachable, so its dynos can be moved without downtime"
        in app.dynoctl("plan", "--evacuate", "grid-3", code=1).stderr
    )
    assert "no such server" in app.dynoctl("apply", "--auto-approve", "--evacuate", "grid-9", code=1).stderr
    fleet.kill("grid-3")
    try:
        assert f"{lost} stays on grid-3, unchanged." in app.dynoctl("plan", code=4).stdout
        text = app.dynoctl("plan", "--evacuate", "grid-3", "--out", "plan").stdout
        assert f"Note: grid-3 is evacuated: {lost} moves to grid-" in text
        assert "cannot be combined with --file" in app.dynoctl("apply", "plan", "--evacuate", "grid-3", code=1).stderr
        app.dynoctl("apply", "plan")
        assert app.ps(code=4)[lost]["server"] in ("grid-1", "grid-2")
        assert app.plan(code=4)["changes"] == [], "they live there now, said again or not"
        app.dynoctl("apply", "--auto-approve", "--evacuate", "grid-3")
        # Taken out of the file it is still remembered: what it carries must go when it is back.
        servers = app.manifest["servers"]
        app.manifest["servers"] = servers[:2]
        assert app.plan(code=4)["leaving"] == ["grid-3"]
        app.manifest["servers"] = servers
    finally:
        fleet.start("grid-3")
    eventually(lambda: app.dynoctl("plan", code=None).returncode == 0)
    assert units(fleet)[f"dyno-drain-{lost.replace('.', '-')}.service"] == 2
    changes = app.plan()["changes"]
    assert {(change["server"], change["action"]) for change in changes} == {("grid-3", "delete")}
    app.apply()
    assert set(units(fleet).values()) == {1} and units(fleet).total() == 3
    assert app.ps()[lost]["server"] in ("grid-1", "grid-2")
    app.settled()

    assert re.search(r"web\.\d moves to grid-3", app.dynoctl("plan", "--rebalance", "--out", "plan").stdout)
    app.dynoctl("apply", "plan")
    assert {row["server"] for row in app.ps().values()} == {"grid-1", "grid-2", "grid-3"}
    assert "No changes." in app.dynoctl("rebalance", "--auto-approve").stdout
    app.settled()
