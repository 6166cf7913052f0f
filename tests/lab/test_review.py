"""A plan as a review, on real servers: saved, shown, applied as it is, refused when anything changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.support import AWAY_AFTER, Project

APP = 'App = ->(env) { [200, { "content-type" => "text/plain" }, ["#{ENV["WORD"]}"]] }\n'
SECRET = "hunter2-that-nobody-sees"


@pytest.fixture
def app(fleet: Any, tmp_path: Path) -> Iterator[Project]:
    source = tmp_path / "source"
    source.mkdir()
    (source / "app.rb").write_text(APP)
    framework = {"name": "rack", "require": "./app", "app": "App"}
    project = Project(tmp_path, fleet, "review", source, framework=framework, app_server={"name": "puma"})
    project.environment["REVIEW_SECRET"] = SECRET
    project.manifest["env"] = {"WORD": "one", "SECRET": {"from_env": "REVIEW_SECRET"}}
    project.apply()
    project.manifest["env"]["WORD"] = "two"
    yield project
    project.destroy()


def test_a_saved_plan_is_applied_as_it_is(app: Project) -> None:
    app.environment["REVIEW_SECRET"] = SECRET + "-new"
    assert "the files of the app stay as they are in v1." in app.dynoctl("plan", "--diff").stdout
    (app.source / "app.rb").write_text(APP + f"# {SECRET}-new\n")
    changed = app.dynoctl("plan", "--diff").stdout  # not in git: from a server
    assert re.search(r"\nDiff of the source, from grid-\d:\n--- a/app.rb\n[+]{3} b/app.rb\n@@ ", changed)
    assert "\n+# (sensitive)\n" in changed and SECRET not in changed
    (app.source / "app.rb").write_text(APP)
    shown = app.dynoctl("plan", "--out", "plan").stdout
    file = app.directory / "plan"
    assert file.stat().st_mode & 0o777 == 0o600
    assert SECRET not in file.read_text()
    again = app.dynoctl("show", "plan").stdout
    assert again.split("\nPlan ")[0] == shown.split("\nSaved the plan. ")[0]
    assert "To apply exactly this plan: dynoctl apply plan" in again
    assert json.loads(app.dynoctl("show", "plan", "--json").stdout)["app"] == "review"
    markdown = app.dynoctl("show", "plan", "--markdown").stdout
    assert markdown == app.dynoctl("plan", "--markdown").stdout
    assert "| 1 | web.1 | 1 of 2 web |" in markdown

    for extra in (("-f", "dyno.yaml"), ("--forget", "grid-9")):
        assert "cannot be combined with --file" in app.dynoctl("apply", "plan", *extra, code=1).stderr
    assert "not a saved plan" in app.dynoctl("apply", "dyno.yaml", code=1).stderr
    done = app.dynoctl("apply", "plan")
    assert "Apply complete in " in done.stdout and ". v2 runs on all 2 dynos. http://" in done.stdout.splitlines()[-1]
    assert {app.get(row) for row in app.ps().values()} == {"two"}
    app.settled()
    done = app.dynoctl("apply", "plan", code=1)
    assert "stale plan in plan; nothing was applied" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_only_a_part_is_applied(app: Project) -> None:
    text = app.dynoctl("plan", "--target", "web.1", "--out", "plan").stdout
    assert "unit of web.1" in text and "of web.2" not in text
    assert "left out by --target web.1." in text
    assert "available: grid-1" in app.dynoctl("plan", "--target", "wbe", code=1).stderr
    before = app.ps()
    lines = [json.loads(line) for line in app.dynoctl("apply", "plan", "--json").stdout.splitlines()]
    assert [lines[0]["type"], lines[-1]["type"]] == ["plan", "report"]
    assert {line["type"] for line in lines[1:-1]} == {"event"}
    assert {line["format_version"] for line in lines} == {1}
    assert (lines[-1]["ok"], lines[-1]["exit_code"]) == (True, 0)
    assert any(line["event"] == "done" and line["subject"] == "web.1" for line in lines[1:-1])
    assert {name: app.get(row) for name, row in app.ps().items()} == {"web.1": "two", "web.2": "one"}
    app.dynoctl("apply", "--auto-approve", "--exclude", "worker*", "--parallelism", "1", code=1)
    app.dynoctl("apply", "--auto-approve", "--exclude", "web.1", "--parallelism", "1")
    app.settled()

    plan = app.dynoctl("plan", "--replace", "web.2").stdout
    assert "unit of web.2  # requested with --replace" in plan and "Plan: 0 to add, 1 to change" in plan
    there = app.ps()
    app.dynoctl("apply", "--auto-approve", "--replace", "web.2")
    now = app.ps()
    assert now["web.1"]["pid"] == there["web.1"]["pid"] != before["web.1"]["pid"]
    assert now["web.2"]["pid"] != there["web.2"]["pid"]


def test_a_server_that_is_away_may_be_skipped(app: Project, fleet: Any) -> None:
    app.apply()
    fleet.cut("grid-3")
    try:
        app.manifest["ssh"]["connect_timeout"] = AWAY_AFTER
        assert "Unreachable: cannot connect to grid-3" in app.dynoctl("plan", code=4).stdout
        assert "Unreachable: cannot connect to grid-3" in app.dynoctl("plan", "--skip-unreachable").stdout
        app.manifest["env"]["WORD"] = "three"
        app.dynoctl("plan", "--skip-unreachable", "--detailed-exitcode", code=2)
        app.dynoctl("apply", "--skip-unreachable", "--auto-approve")
    finally:
        fleet.restore("grid-3")
    app.apply()


def test_a_destination_is_applied_again_and_a_gone_reader_stops_nothing(app: Project) -> None:
    staged = {"app": {"name": "review-staging"}, "env": {"WORD": "staged"}}
    (app.directory / "dyno.staging.yaml").write_text(yaml.safe_dump(staged))
    try:
        app.dynoctl("apply", "-d", "staging", "--auto-approve")
        assert "No changes." in app.dynoctl("plan", "-d", "staging").stdout
        staged["env"]["WORD"] = "again"
        (app.directory / "dyno.staging.yaml").write_text(yaml.safe_dump(staged))
        process = app.start("apply", "-d", "staging", "--auto-approve", "--json")
        assert process.stdout is not None and process.stdin is not None
        process.stdin.close()
        assert json.loads(process.stdout.readline())["type"] == "plan"
        process.stdout.close()
        assert process.wait(timeout=120) == 0
        assert process.stderr is not None
        process.stderr.close()
        rows = json.loads(app.dynoctl("ps", "-d", "staging", "--json").stdout)["dynos"]
        assert [app.get(row) for row in rows] == ["again", "again"]
        done = app.dynoctl("apply", "-d", "staging", "--auto-approve", "--json").stdout.splitlines()
        assert [json.loads(line)["type"] for line in done] == ["plan", "report"]
    finally:
        app.dynoctl("destroy", "-d", "staging", "--auto-approve")


def test_a_server_that_leaves_and_is_left_out_is_not_forgotten(app: Project) -> None:
    app.manifest["dynos"] = {"web": 3}
    app.apply()
    home = app.ps()["web.3"]["server"]
    whole = app.manifest["servers"]
    app.manifest["servers"] = [one for one in whole if one["name"] != home]
    for _ in range(2):  # the second time there is nothing to do but what is left out
        app.dynoctl("apply", "--auto-approve", "--exclude", home)
        left = app.dynoctl("plan").stdout
        assert "- unit, socket, tmp, env_file, user of web.3" in left and f"{home} is no longer in dyno.yaml" in left
    app.apply()
    app.manifest["servers"] = whole
    assert app.ps().keys() == {"web.1", "web.2", "web.3"}


@pytest.mark.parametrize("what", ["manifest", "source", "secret", "server"])
def test_a_saved_plan_is_refused_where_anything_changed(app: Project, fleet: Any, what: str) -> None:
    app.dynoctl("plan", "--out", "plan")
    pids = {row["pid"] for row in app.ps().values()}
    if what == "manifest":
        app.manifest["env"]["WORD"] = "three"
    elif what == "source":
        (app.source / "more").write_text("more")
    elif what == "secret":
        app.environment["REVIEW_SECRET"] = "another"
    else:
        fleet.exec(
            "grid-1", "sh", "-c", "sed -i s/MemoryMax=.*/MemoryMax=1G/ /etc/systemd/system/dyno-review-web-1.service"
        )
    done = app.dynoctl("apply", "plan", code=1)
    says = {
        "manifest": "the manifest changed",
        "source": "the source changed: slug ",
        "secret": "the value of SECRET changed",
        "server": "grid-1 changed",
    }
    assert says[what] in done.stderr
    assert {row["pid"] for row in app.ps().values()} == pids
    if what == "server":
        app.manifest["env"]["WORD"] = "one"
        app.apply()


def test_drift_is_what_people_did(app: Project, fleet: Any) -> None:
    assert "No drift." in app.dynoctl("drift", "--detailed-exitcode").stdout, (
        "the manifest has changes, the servers none"
    )
    row = app.ps()["web.2"]
    unit = "/etc/systemd/system/dyno-review-web-2.service"
    fleet.exec(row["server"], "sh", "-c", f"sed -i s/MemoryMax=.*/MemoryMax=1G/ {unit}")
    text = app.dynoctl("drift", "--detailed-exitcode", code=2).stdout
    assert 'unit.Service.MemoryMax: "1G" -> 512 MiB' in text
    assert "WORD" not in text, "that is the manifest's"
    assert f"Logins on {row['server']} since the last apply (20" in text
    assert "root from 10." in text
    assert "Drift: 1 resource changed by hand on 1 server." in text
    assert app.dynoctl("plan", "--refresh-only").stdout.splitlines()[-1] == text.splitlines()[-1]
    document = json.loads(app.dynoctl("drift", "--json").stdout)
    assert [one["address"] for one in document["drift"]] == [f"{row['server']}/unit.review-web.2"]
    login = document["logins"][row["server"]][0]
    assert (login["who"], login["times"] > 0) == ("root", True)
    assert "can be combined only with" in app.dynoctl("plan", "--refresh-only", "--markdown", code=1).stderr
    app.apply()
    assert "No drift." in app.dynoctl("drift").stdout
