"""A plan as a review, on real servers: saved, shown, applied as it is, refused when anything changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.support import Project

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
    shown = app.dynoctl("plan", "--out", "plan").stdout
    file = app.directory / "plan"
    assert file.stat().st_mode & 0o777 == 0o600
    assert SECRET not in file.read_text()
    again = app.dynoctl("show", "plan").stdout
    assert again.split("\nMade ")[0] == shown.split("\nSaved. ")[0]
    assert "To apply just this: dynoctl apply plan" in again
    assert json.loads(app.dynoctl("show", "plan", "--json").stdout)["app"] == "review"
    markdown = app.dynoctl("show", "plan", "--markdown").stdout
    assert markdown == app.dynoctl("plan", "--markdown").stdout
    assert "| 1 | web.1 | 1 of 2 web |" in markdown

    for extra in (("-f", "dyno.yaml"), ("--forget", "grid-9")):
        assert "A saved plan takes no" in app.dynoctl("apply", "plan", *extra, code=1).stderr
    assert "is no saved plan" in app.dynoctl("apply", "dyno.yaml", code=1).stderr
    done = app.dynoctl("apply", "plan")
    assert "Apply complete" in done.stdout
    assert {app.get(row) for row in app.ps().values()} == {"two"}
    app.settled()
    done = app.dynoctl("apply", "plan", code=1)
    assert "does not hold any more; nothing was applied" in done.stderr
    assert SECRET not in done.stdout + done.stderr


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
    assert 'unit.Service.MemoryMax: "1G" -> "536870912"' in text
    assert "WORD" not in text, "that is the manifest's"
    assert f"Logins on {row['server']} since the last apply (20" in text
    assert "root from 10." in text
    assert "Drift: 1 changed by hand on 1 server." in text
    assert app.dynoctl("plan", "--refresh-only").stdout.splitlines()[-1] == text.splitlines()[-1]
    document = json.loads(app.dynoctl("drift", "--json").stdout)
    assert [one["address"] for one in document["drift"]] == [f"{row['server']}/unit.review-web.2"]
    login = document["logins"][row["server"]][0]
    assert (login["who"], login["times"] > 0) == ("root", True)
    assert "goes with" in app.dynoctl("plan", "--refresh-only", "--markdown", code=1).stderr
    app.apply()
    assert "No drift." in app.dynoctl("drift").stdout
