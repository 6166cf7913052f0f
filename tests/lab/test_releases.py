"""Releases on real servers: recorded, listed, gone back to, kept and pruned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.support import Project, eventually

APP = """\
App = lambda do |env|
  [200, { "content-type" => "text/plain" }, ["VERSION #{ENV["WORD"]} #{ENV["SECRET"].to_s.size}"]]
end
"""
SECRET = "hunter2-of-the-first-release"


@pytest.fixture
def app(fleet: Any, tmp_path: Path) -> Iterator[Project]:
    source = tmp_path / "source"
    source.mkdir()
    (source / "app.rb").write_text(APP)
    framework = {"name": "rack", "require": "./app", "app": "App"}
    project = Project(tmp_path, fleet, "again", source, framework=framework, app_server={"name": "puma"})
    project.manifest |= {
        "dynos": {"web": 2, "worker": {"count": 1, "command": "sleep 1000"}},
        "env": {"WORD": "one", "SECRET": {"from_env": "AGAIN_SECRET"}},
        "rollout": {"max_parallel": "100%"},
    }
    # A cache of its own, so that what a server has is the only place for an old slug.
    project.environment |= {"AGAIN_SECRET": SECRET, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    yield project
    project.destroy()


def release(project: Project, version: str, word: str) -> None:
    (project.source / "app.rb").write_text(APP.replace("VERSION", version))
    project.manifest["env"]["WORD"] = word
    project.apply()


def listed(project: Project) -> list[dict[str, Any]]:
    found = json.loads(project.dynoctl("releases", "--json").stdout)["releases"]
    assert isinstance(found, list)
    return found


def says(project: Project) -> set[str]:
    return {project.get(row) for row in project.ps().values() if row["port"]}


def slugs(project: Project, server: str) -> set[str]:
    listing = project.fleet.exec(server, "sh", "-c", "ls /var/lib/dynoctl/again/slugs").stdout
    return {line.removesuffix(".squashfs") for line in listing.split()}


def test_releases_and_the_way_back(app: Project, fleet: Any) -> None:
    app.dynoctl("apply", "--auto-approve", "-m", "the first")
    app.environment["AGAIN_SECRET"] = "other"
    release(app, "second", "two")
    first, second = listed(app)
    assert (first["number"], first["result"], first["message"]) == (1, "ok", "the first")
    assert (second["number"], second["result"], second["of"]) == (2, "ok", 0)
    assert "@" in first["who"] and first["when"].endswith("Z") and first["manifest"] != second["manifest"]
    assert first["slug"] != second["slug"] and set(first["stored_on"]) == set(app.plan()["placement"]["after"].values())

    # Another count is no other release, nor is a repair.
    app.manifest["dynos"]["web"] = 3
    app.apply()
    fleet.exec(app.ps()["web.1"]["server"], "systemctl", "stop", "dyno-again-web-1.socket", "dyno-again-web-1")
    app.apply()
    assert [one["number"] for one in listed(app)] == [1, 2]

    shown = app.dynoctl("releases", "show", "v1").stdout
    assert "the first" in shown and "SECRET, WORD" in shown and "Stored on" in shown
    table = app.dynoctl("releases").stdout
    assert "* v2" in table and "dynoctl rollback v1" in table

    # What a server holds under the number of another release, or damaged, is not gone back to.
    stored = "/var/lib/dynoctl/again/releases"
    holder = first["stored_on"][0]
    fleet.exec(holder, "cp", f"{stored}/2.body", f"{stored}/1.body")

    # The slug is still there: nothing is sent, wherever the dynos were.
    server = app.ps()["web.1"]["server"]
    image = f"/var/lib/dynoctl/again/slugs/{first['slug']}.squashfs"
    before = fleet.exec(server, "stat", "-c", "%i %Y", image).stdout
    done = app.dynoctl("rollback", "--auto-approve")
    assert "Creates release v3, a rollback to v1; migrations are not reverted." in done.stdout
    assert "Rollback complete" in done.stdout
    assert fleet.exec(server, "stat", "-c", "%i %Y", image).stdout == before
    assert says(app) == {f"VERSION one {len(SECRET)}"}
    assert len(app.ps()) == 4, "a rollback changes no counts"
    assert [(one["number"], one["of"], one["message"]) for one in listed(app)][-1] == (3, 1, "rollback to v1")
    history = json.loads(app.dynoctl("history", "--json").stdout)["history"][-1]
    assert (history["command"], history["result"], history["release"]) == ("rollback", "ok", 3)
    for name in ((), ("v1",)):
        again = app.dynoctl("rollback", *name, "--auto-approve").stdout
        assert "No changes. The servers match v1.\n" in again and "v3 is a rollback to v1 already" in again

    # dyno.yaml still says the other one, and a plan says so; it is not applied by accident.
    assert app.plan()["new_release"] is True
    planned = app.dynoctl("plan", "--out", "held.plan").stdout
    assert planned.startswith("v3, a rollback from v2 to v1 by ")
    assert "this one is refused. To save one that undoes it: dynoctl plan --over-rollback --out FILE" in planned
    assert "v3, a rollback from v2 to v1 by " in app.dynoctl("apply", "held.plan", code=1).stderr
    held = app.apply(code=1)
    for looks in (("ps",), ("top", "--once")):
        seen = app.dynoctl(*looks).stdout
        assert "v3, a rollback from v2 to v1 by " in seen and "dynoctl apply --over-rollback" in seen, seen
    assert json.loads(app.dynoctl("ps", "--json").stdout)["held"]["over"] == 2
    assert "error: v3, a rollback from v2 to v1 by " in held.stderr and "dynoctl apply --over-rollback" in held.stderr
    assert says(app) == {f"VERSION one {len(SECRET)}"}
    app.manifest["dynos"]["web"], edited = 1, app.manifest["dynos"]["web"]
    forward = app.dynoctl("rollback", "v2", "--auto-approve").stdout
    assert (
        forward.count("v4, a rollback to v2;") == 1 and "left out: dynos.web; to include it: --with-changes" in forward
    )
    assert len(app.ps()) == 4, "what is edited in the tree stays there"
    app.manifest["dynos"]["web"] = edited
    assert says(app) == {"second two 5"}
    assert json.loads(app.dynoctl("ps", "--json").stdout)["held"] is None
    app.settled()

    for text in (shown, table, done.stdout, app.dynoctl("releases", "--json").stdout):
        assert SECRET not in text
    modes = fleet.exec(server, "sh", "-c", "stat -c '%a %U' /var/lib/dynoctl/again/releases/*").stdout
    assert set(modes.splitlines()) == {"600 root"}


def test_what_is_not_there_is_said(app: Project) -> None:
    app.apply()
    assert "no earlier successful release" in app.dynoctl("rollback", "--auto-approve", code=1).stderr
    done = app.dynoctl("rollback", "v9", "--auto-approve", code=1)
    assert "release v9 not found" in done.stderr and "available: v1" in done.stderr
    assert "release x not found" in app.dynoctl("releases", "show", "x", code=1).stderr


def test_slugs_are_kept_and_pruned_as_planned(app: Project, fleet: Any) -> None:
    app.manifest["keep"] = 2
    app.apply()
    release(app, "second", "two")
    server = app.ps()["web.1"]["server"]
    first, second = (one["slug"] for one in listed(app))
    assert slugs(app, server) == {first, second}
    (app.source / "app.rb").write_text(APP.replace("VERSION", "third"))
    plan = app.plan()
    gone = {change["name"] for change in plan["changes"] if change["kind"] == "slug" and change["action"] == "delete"}
    assert gone == {f"again@{first[:12]}"}
    app.apply()
    assert slugs(app, server) == {second, listed(app)[2]["slug"]}
    assert [bool(one["stored_on"]) for one in listed(app)] == [False, True, True]
    done = app.dynoctl("rollback", "v1", "--auto-approve", code=1)
    assert "no server has the contents of the release" in done.stderr
    assert says(app) == {"third two 28"}

    # A server that lost its copy, and an empty cache: another server has one.
    (app.directory / "cache").rename(app.directory / "gone")
    fleet.exec(server, "rm", f"/var/lib/dynoctl/again/slugs/{second}.squashfs")
    app.dynoctl("rollback", "v2", "--auto-approve")
    assert says(app) == {"second two 28"}


def test_a_rejected_release_is_remembered_and_never_gone_back_to(app: Project) -> None:
    app.apply()
    (app.source / "app.rb").write_text('raise "broken"')
    app.apply(code=5)
    assert [(one["number"], one["result"]) for one in listed(app)] == [(1, "ok"), (2, "rejected")]
    done = app.dynoctl("rollback", "v2", "--auto-approve", code=1)
    assert "cannot roll back to v2: it was rejected" in done.stderr
    (app.source / "app.rb").write_text(APP)
    pids = {row["pid"] for row in app.ps().values()}
    app.apply()  # its slug goes
    app.settled()
    assert {row["pid"] for row in app.ps().values()} == pids
    release(app, "third", "three")
    assert [(one["number"], one["result"]) for one in listed(app)][-1] == (3, "ok")
    app.dynoctl("rollback", "--auto-approve")
    assert says(app) == {f"VERSION one {len(SECRET)}"}


def test_the_release_command_runs_once_for_each_release(app: Project, fleet: Any) -> None:
    app.manifest["dynos"] = {"web": 0, "worker": {"count": 0, "command": "sleep 1000"}}
    app.manifest["release_command"] = "echo migrated $WORD"
    assert "migrated" not in app.apply().stdout, "nothing is to move"
    app.manifest["dynos"]["worker"]["count"] = 2
    assert "migrated one" in app.apply().stdout
    row = app.ps()["worker.1"]
    fleet.exec(row["server"], "systemctl", "stop", "dyno-again-worker-1")
    assert "migrated" not in app.apply().stdout, "a repair is no release"
    release(app, "second", "two")
    assert len(listed(app)) == 2
    app.manifest["release_command"] = "echo it fails; exit 3"
    app.manifest["env"]["WORD"] = "three"
    done = app.apply(code=5)
    assert "it fails" in done.stdout and "the release command failed" in done.stdout
    assert listed(app)[-1]["result"] == "rejected"
    done = app.dynoctl("rollback", "--auto-approve")
    assert "migrated" not in done.stdout and "it fails" not in done.stdout, "a rollback migrates nothing"


@pytest.mark.soak
def test_numbers_stay_unique_though_a_server_was_away(app: Project, fleet: Any) -> None:
    app.apply()
    fleet.stop("grid-3")
    try:
        app.manifest["env"]["WORD"] = "two"
        app.apply(code=4)
        known = json.loads(app.dynoctl("releases", "--json", code=4).stdout)["releases"]
    finally:
        fleet.start("grid-3")
    assert known[0]["number"] == 1
    away = known[-1]["number"]
    assert away > 1
    app.apply()
    app.manifest["env"]["WORD"] = "three"
    app.apply()
    numbers = [one["number"] for one in listed(app)]
    assert numbers == sorted(set(numbers)) and len(numbers) == 3 and numbers[1] == away
    there = fleet.exec("grid-3", "sh", "-c", "ls /var/lib/dynoctl/again/releases").stdout
    assert all(f"{number}.json" in there for number in numbers)


def test_the_lock_is_shown_and_waited_for(app: Project, fleet: Any) -> None:
    app.apply()
    free = app.dynoctl("lock", "status").stdout
    assert free.count("free") == len(app.manifest["servers"])
    app.manifest["env"]["WORD"] = "slow"
    app.manifest["release_command"] = ["sh", "-c", "trap 'exit 0' USR1; echo armed; while :; do sleep 0.1; done"]
    first = app.start("apply", "--auto-approve")  # it holds the lock until its release command is told to end
    held = eventually(lambda: (text := app.dynoctl("lock", "status").stdout) and "held by " in text and text)
    assert "@" in held and "since" in held and "pid" in held
    locks = json.loads(app.dynoctl("lock", "status", "--json").stdout)["locks"]
    assert set(locks) == {server["name"] for server in app.manifest["servers"]}
    done = app.dynoctl("apply", "--auto-approve", code=1)
    assert "another apply is running" in done.stderr
    for command in ("plan", "ps", "history", "releases", "top", "drift", "doctor"):
        text = app.dynoctl(command, code=None).stdout
        assert " is applying v2 since " in text.splitlines()[0], f"{command}:\n{text}"
        assert not any(word in text for word in ("changed by hand", "unfinished", "was interrupted")), text
    waiting = app.start("apply", "--auto-approve", "--lock-timeout", "180")
    assert waiting.stderr is not None
    assert any("waiting for it to end" in line for line in waiting.stderr)
    units = "dynoctl-release-again.*"
    armed = f"journalctl -q --namespace=+dyno-again -o cat -u '{units}' | grep -qx armed"
    home = eventually(
        lambda: [name for name in fleet.names if not fleet.exec(name, "sh", "-c", armed, check=False).returncode]
    )
    for server in home:
        fleet.exec(server, "systemctl", "kill", "--kill-whom=main", "-s", "USR1", units, check=False)
    first.communicate(timeout=180)
    assert first.returncode == 0
    out, err = waiting.communicate(timeout=180)
    assert waiting.returncode == 0 and "planning again" in err and "No changes." in out
    app.settled()
