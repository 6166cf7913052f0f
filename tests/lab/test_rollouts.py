"""Rollouts on real servers, under load: batches, health, canaries, and the way back from a bad release."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.load import Load
from tests.lab.support import Project

APP = """\
App = lambda do |env|
  [200, { "content-type" => "text/plain" }, ["#{ENV["DYNO"]} #{ENV["WORD"]}"]]
end
"""


@pytest.fixture
def app(fleet: Any, tmp_path: Path) -> Iterator[Project]:
    source = tmp_path / "source"
    source.mkdir()
    (source / "app.rb").write_text(APP)
    framework = {"name": "rack", "require": "./app", "app": "App"}
    project = Project(tmp_path, fleet, "rolls", source, framework=framework, app_server={"name": "puma"})
    project.manifest |= {"dynos": {"web": 4}, "env": {"WORD": "first"}}
    project.apply()
    yield project
    project.manifest.pop("rollout", None)
    project.destroy()


def web(project: Project) -> dict[str, Any]:
    """The dynos that answer requests."""
    return {name: row for name, row in project.ps().items() if row["port"]}


def words(project: Project) -> set[str]:
    return {project.get(row).split()[1] for row in web(project).values()}


def of_releases(project: Project) -> list[str]:
    """What a release puts on a server: slugs, mounts, launch files, units, users, config vars, on all servers."""
    script = """
ls /var/lib/dynoctl/rolls/slugs /srv/dyno/rolls /etc/dyno/rolls; find /var/lib/dynoctl/rolls -name '*.rb'
grep ^dyno-rolls /etc/passwd; systemctl list-units --no-legend --plain 'dyno-rolls*' 'srv-dyno-rolls*' | cut -d' ' -f1
cat /etc/systemd/system/dyno-rolls-nightly-1.* /etc/dyno/rolls/nightly.1.env 2>/dev/null; :
"""
    servers = [server["name"] for server in project.manifest["servers"]]
    return [project.fleet.exec(server, "sh", "-c", script, check=False).stdout for server in servers]


def test_batches_as_the_manifest_says(app: Project) -> None:
    app.manifest["env"]["WORD"] = "second"
    app.manifest["dynos"]["web"] = {"count": 4, "stop_timeout": 7}
    app.manifest["rollout"] = {
        "max_parallel": 2,
        "canary": 1,
        "min_healthy_time": 1,
        "health": {"path": "/up", "status": 200},
    }
    plan = app.plan()
    assert plan["batches"] == [["web.1"], ["web.2", "web.3"], ["web.4"]]
    assert plan["capacity"] == [{"web": [3, 4]}, {"web": [2, 4]}, {"web": [3, 4]}]
    assert "Batch 2: web.2, web.3  # still up: 2 of 4 web" in app.dynoctl("plan").stdout
    with Load(app.ps().values()) as load:
        app.apply()
    assert load.failures == []
    assert words(app) == {"second"}
    app.settled()
    row = app.ps()["web.1"]
    limit = app.fleet.exec(row["server"], "systemctl", "show", "-p", "TimeoutStopUSec", "--value", "dyno-rolls-web-1")
    assert limit.stdout == "7s\n"
    app.manifest["rollout"]["max_parallel"] = "50%"
    app.manifest["rollout"].pop("canary")
    app.manifest["env"]["WORD"] = "third"
    assert app.plan()["batches"] == [["web.1", "web.2"], ["web.3", "web.4"]]


@pytest.mark.parametrize(
    ("source", "rollout", "says"),
    [
        ('raise "broken" unless ENV["DYNO"] == "web.0"\n' + APP, {"canary": 1}, "broken"),
        (
            APP.replace("  [", '  exit!(1) if env["PATH_INFO"] == "/real"\n  ['),
            {"min_healthy_time": 2, "canary": 1},
            "Failed: ",
        ),
        (
            APP.replace("[200", '[ENV["DYNO"] == "web.0" ? 200 : 500'),
            {"healthy_deadline": 20, "health": {"path": "/up"}},  # its candidate is to boot in that time
            "GET /up answered 500",
        ),
    ],
    ids=["does not boot", "crashes under real traffic", "is not healthy"],
)
def test_a_bad_release_goes_back(app: Project, source: str, rollout: dict[str, Any], says: str) -> None:
    app.manifest["rollout"] = rollout
    app.manifest["env"]["WORD"] = "first"
    app.manifest["schedule"] = [{"name": "nightly", "cron": "0 3 * * *", "command": "true"}]
    app.apply()
    before, files = web(app), of_releases(app)
    (app.source / "app.rb").write_text(source)
    app.manifest["env"]["WORD"] = "bad"
    app.manifest["dynos"]["web"] = 5
    with Load(before.values(), "/real"):
        done = app.apply(code=5)
    assert says in done.stdout
    assert "The rollout stopped:" in done.stdout
    assert "Reverted to what ran before: " in done.stdout
    assert words(app) == {"first"}
    rows = web(app)
    assert of_releases(app) == files
    assert {row["slug"] for row in rows.values()} == {row["slug"] for row in before.values()}
    assert all(row["state"] == "up" for row in rows.values())
    for row in rows.values():
        left = app.fleet.exec(row["server"], "sh", "-c", "ls -d /var/lib/dynoctl/rolls/undo", check=False)
        assert left.stdout == ""
    (app.source / "app.rb").write_text(APP)
    app.manifest["env"]["WORD"] = "first"
    app.manifest["dynos"]["web"] = 4
    app.settled()
    app.manifest.pop("schedule")


def test_what_a_running_dyno_takes_over_hides_no_restart_and_causes_none(app: Project) -> None:
    """A new health check, and a socket that is enabled again, change while the dyno runs."""
    app.manifest["env"]["WORD"] = "second"
    app.manifest["rollout"] = {"max_parallel": 4, "health": {"path": "/up", "status": 200}}
    app.apply()
    assert words(app) == {"second"}
    before = app.ps()
    units = ("dyno-rolls-web-1.socket", "dyno-rolls-web-1.service")
    app.fleet.exec(before["web.1"]["server"], "systemctl", "disable", *units)
    app.apply()
    assert {name: row["pid"] for name, row in app.ps().items()} == {name: row["pid"] for name, row in before.items()}
    app.settled()


def test_a_port_that_another_program_took(app: Project) -> None:
    row = app.ps()["web.2"]
    app.manifest["env"]["WORD"] = "second"
    squat = ["systemd-run", "--unit=squatter", "ruby", "-rsocket", "-e", "TCPServer.new(*ARGV); sleep"]
    app.fleet.exec(row["server"], "systemctl", "stop", "dyno-rolls-web-2.socket", "dyno-rolls-web-2.service")
    app.fleet.exec(row["server"], *squat, row["listen"], str(row["port"]))
    try:
        done = app.apply(code=1)
        assert f"cannot start web.2: port {row['port']} is already in use" in done.stdout
        assert (
            "no dyno was changed: 1 dyno (web.2) cannot take the release, and rollout.max_failures allows none"
            in done.stdout
        )
        rows = app.ps()
        assert {app.get(rows[f"web.{number}"]).split()[1] for number in (1, 3, 4)} == {"first"}
        app.manifest["rollout"] = {"max_failures": 1}
        assert "Failed, as rollout.max_failures allows: web.2." in app.apply(code=1).stdout
        rows = app.ps()
        assert {app.get(rows[f"web.{number}"]).split()[1] for number in (1, 3, 4)} == {"second"}
    finally:
        app.fleet.exec(row["server"], "systemctl", "stop", "squatter")
    app.apply()
    assert words(app) == {"second"}
    app.settled()


def test_a_release_that_hangs_is_rejected_within_its_deadline(app: Project) -> None:
    app.manifest["rollout"] = {"healthy_deadline": 4, "health": {"path": "/up"}}
    before = app.ps()
    (app.source / "app.rb").write_text(APP.replace("  [", "  sleep 100\n  ["))
    with Load(before.values()) as load:
        done = app.apply(code=5)
    assert "release rejected: its candidate did not become healthy on" in done.stdout
    assert load.failures == []
    assert {name: row["pid"] for name, row in app.ps().items()} == {name: row["pid"] for name, row in before.items()}


def test_without_auto_revert_it_stops_where_it_is(app: Project) -> None:
    app.manifest["rollout"] = {"auto_revert": False}
    (app.source / "app.rb").write_text('raise "broken" if ENV["DYNO"] == "web.2"\n' + APP)
    app.manifest["env"]["WORD"] = "second"
    done = app.apply(code=1)
    assert "The rollout stopped:" in done.stdout
    rows = app.ps()
    assert "second" in app.get(rows["web.1"])
    assert all("first" in app.get(rows[name]) for name in ("web.3", "web.4"))
    (app.source / "app.rb").write_text(APP)
    app.apply()
    assert words(app) == {"second"}
    app.settled()
