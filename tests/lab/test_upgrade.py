"""An app that 0.1.0 applied, gone on with by this dynoctl, and by one that is newer than both."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra import __version__
from infra.fleet.meta_record import RECORDS_FORMAT
from tests.lab import test_schedules as schedules
from tests.lab.support import APPS, Project

TAG = "v0.1.0"
COMMIT = "723b2ee4a2a27c79061829b9773100dcaafafe5d"
"""What the tag names; a clone may lack tags, and none lacks this."""

IN_THE_WHEEL = ("infra", "providers", "stacks", "schemas", "docs/dynoctl.1", "pyproject.toml", "README.md", "LICENSE")


def run(*argv: str | Path, cwd: Path | None = None, stdin: bytes | None = None) -> bytes:
    done = subprocess.run(argv, cwd=cwd, input=stdin, capture_output=True)
    assert done.returncode == 0, f"{argv}: {(done.stdout + done.stderr).decode()}"
    return done.stdout


def commit_of_the_old(root: Path) -> str:
    """The commit that is 0.1.0. Where a clone does not have it, there is nothing to upgrade from: that fails."""
    for name in (TAG, COMMIT):
        known = ["git", "-C", str(root), "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"]
        found = subprocess.run(known, capture_output=True, text=True)
        if found.returncode == 0:
            return found.stdout.strip()
    pytest.fail(
        f"{root} has neither the tag {TAG} nor its commit {COMMIT}, so 0.1.0 cannot be built: "
        "fetch the whole history (git fetch --unshallow --tags)"
    )


@pytest.fixture(scope="module")
def old(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dynoctl of 0.1.0, from its wheel in an environment of its own."""
    place = tmp_path_factory.mktemp("old")
    archive = run("git", "-C", root, "archive", commit_of_the_old(root), "--", *IN_THE_WHEEL)
    (place / "source").mkdir()
    run("tar", "-x", "-C", place / "source", stdin=archive)
    run(sys.executable, "-m", "build", "--wheel", "--outdir", place / "dist", place / "source")
    (wheel,) = (place / "dist").glob("*.whl")
    assert wheel.name.startswith("dynoctl-0.1.0-")
    run(sys.executable, "-m", "venv", "--without-pip", place / "venv")
    python = place / "venv/bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile", wheel)
    assert run(place / "venv/bin/dynoctl", "--version") == b"dynoctl 0.1.0\n"
    return place / "venv/bin/dynoctl"


@pytest.fixture(scope="module")
def newer(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dynoctl to come: a later version that limits a dyno's tasks otherwise, and writes records in a later format."""
    place = tmp_path_factory.mktemp("newer")
    for package in ("infra", "providers", "stacks", "schemas"):
        shutil.copytree(root / package, place / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file, was, becomes in (
        ("infra/__init__.py", f'__version__ = "{__version__}"', '__version__ = "9.0.0"'),
        (
            "infra/fleet/meta_record.py",
            f"\nRECORDS_FORMAT = {RECORDS_FORMAT}\n",
            f"\nRECORDS_FORMAT = {RECORDS_FORMAT + 1}\n",
        ),
        ("providers/dyno_unit.py", '"Service.TasksMax": "256"', '"Service.TasksMax": "257"'),
    ):
        text = (place / file).read_text()
        assert text.count(was) == 1, f"{file} does not say {was!r}"
        (place / file).write_text(text.replace(was, becomes))
    start = place / "dynoctl"
    path = f"import sys; sys.path.insert(0, {str(place)!r}); from infra.cli import main; main()"
    start.write_text(f'#!/bin/sh\nexec {sys.executable} -P -c "{path}" "$@"\n')
    start.chmod(0o755)
    return start


@pytest.fixture
def app(fleet: Any, tmp_path: Path, newer: Path) -> Iterator[Project]:
    framework = {"name": "rack", "require": "./probe", "app": "Probe"}
    project = Project(tmp_path, fleet, "elder", APPS / "probe", framework=framework)
    project.manifest |= {
        "dynos": {"web": 2, "worker": {"count": 1, "command": "sleep 100000"}},
        "env": {"WORD": "one", "SECRET": {"from_env": "ELDER_SECRET"}},
        "volumes": [{"name": "uploads", "path": "public/uploads"}],
        "schedule": [{"name": "tick", "every": f"{schedules.EVERY}s", "command": schedules.TICK, "timeout": 30}],
        "release_command": 'echo "released $WORD"',
    }
    project.manifest["servers"] = project.manifest["servers"][:1]  # dynos that share a volume share a server
    project.environment |= {"ELDER_SECRET": "hunter2-of-0.1.0", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    project.manifest["rollout"] = {"max_parallel": "100%"}
    yield project
    project.dynoctl("destroy", "--auto-approve", program=newer)  # it reads the records of all three
    clean = "rm -rf /var/lib/dynoctl-volumes; groupdel dyno-elder 2>/dev/null; :"
    fleet.exec(fleet.names[0], "sh", "-c", clean)


def state(project: Project) -> dict[str, Any]:
    """What must survive: which dyno runs where and as which process, the releases, and what is in the volume."""
    rows = project.ps()
    releases = json.loads(project.dynoctl("releases", "--json").stdout)["releases"]
    return {
        # A schedule has a process only while it runs.
        "dynos": {name: (row["server"], row["port"], None if row["job"] else row["pid"]) for name, row in rows.items()},
        "releases": [(release["number"], release["result"], release["slug"]) for release in releases],
        "upload": project.get(rows["web.2"], "/read?of=public/uploads/kept.txt"),
    }


def running(fleet: Any) -> list[str]:
    """The services of the app's dynos over all servers, each as often as it runs."""
    listing = "systemctl list-units --plain --no-legend --state=active 'dyno-elder-*.service'"
    units = [
        line.split()[0] for name in fleet.names for line in fleet.exec(name, "sh", "-c", listing).stdout.splitlines()
    ]
    return sorted(unit for unit in units if re.fullmatch(r"dyno-elder-(web|worker)-\d+\.service", unit))


def restarts(plan: dict[str, Any]) -> dict[str, list[str]]:
    """The reasons of each dyno that restarts."""
    found: dict[str, list[str]] = {}
    for change in plan["changes"]:
        if change["effect"] == "restart":
            found.setdefault(change["dyno"], []).append(change["reason"])
    return found


def test_an_upgrade_loses_nothing_and_runs_nothing_twice(app: Project, fleet: Any, old: Path, newer: Path) -> None:
    # Two releases by 0.1.0.
    said = app.dynoctl("apply", "--auto-approve", program=old).stdout
    assert "released one" in said
    assert app.get(app.ps()["web.1"], "/write?of=public/uploads/kept.txt") == "written"
    app.manifest["env"]["WORD"] = "two"
    assert "released two" in app.dynoctl("apply", "--auto-approve", program=old).stdout
    dynos = ["dyno-elder-web-1.service", "dyno-elder-web-2.service", "dyno-elder-worker-1.service"]
    before, since = state(app), time.time()
    assert running(fleet) == dynos and before["upload"] == "x"
    app.dynoctl("plan", "--out", "old.plan", program=old)
    assert re.search(
        rf"was saved by dynoctl 0\.1\.0.*this is dynoctl {re.escape(__version__)} ",
        app.dynoctl("apply", "old.plan", code=1).stderr,
    )

    # This one: whatever restarts says that it is for the new version, and nothing else happens.
    planned = app.plan()
    assert planned["unreachable"] == {} and planned["errors"] == []
    needs = restarts(planned)
    why = f"dynoctl {__version__} may write it differently than 0.1.0 did"
    assert all(why in reason for reasons in needs.values() for reason in reasons), needs
    made = [change["address"] for change in planned["changes"] if change["action"] not in ("update", "restart")]
    made = [address for address in made if "@" not in address]  # the files of the release
    new = ["journal.elder", *(f"tmp.elder-{dyno}" for dyno in ("tick.1", "web.1", "web.2", "worker.1"))]
    assert sorted(made) == [f"grid-1/{key}" for key in new], planned["changes"]
    assert needs.keys() == {"web.1", "web.2", "worker.1"}, "a process logs to the journal that it was started with"
    # The configuration of the app server belongs to a release, and is another one by now.
    said = app.apply().stdout
    assert "Creates release v3 after v2" in said and "released two" in said
    logged = app.dynoctl("logs", "-t", "web", "-n", "10000").stdout
    assert logged.count("]: Started dyno-elder-web-1.service") > 1, "and what it logged before is still shown"
    app.settled()
    after = state(app)
    assert running(fleet) == dynos
    assert {name for name in after["dynos"] if after["dynos"][name] != before["dynos"][name]} == set(needs)
    assert [dyno[:2] for dyno in after["dynos"].values()] == [dyno[:2] for dyno in before["dynos"].values()]
    slug = before["releases"][-1][2]
    assert after["releases"] == [*before["releases"], (3, "ok", slug)] and after["upload"] == "x"

    # What 0.1.0 released can still be gone back to, and forward.
    app.dynoctl("rollback", "v1", "--auto-approve")
    assert {app.get(row, "/env?of=WORD") for row in app.ps().values() if row["port"]} == {"one"}
    app.dynoctl("apply", "--auto-approve", "--over-rollback")
    before = state(app)
    assert before["upload"] == "x" and running(fleet) == dynos
    schedules.once(app, since, time.time() - schedules.EVERY)

    # A newer one that needs restarts: each dyno once, with that reason.
    needs = restarts(json.loads(app.dynoctl("plan", "--json", program=newer).stdout))
    why = f"dynoctl 9.0.0 writes it differently than {__version__} did"
    assert needs.keys() == {"web.1", "web.2", "worker.1"}
    assert all(why in reason for reasons in needs.values() for reason in reasons), needs
    assert why in app.dynoctl("plan", program=newer).stdout, "people read it, too"
    app.dynoctl("apply", "--auto-approve", program=newer)
    assert "No changes." in app.dynoctl("plan", program=newer).stdout
    after = state(app)
    assert all(after["dynos"][name][2] != before["dynos"][name][2] for name in needs)
    assert (after["releases"], after["upload"]) == (before["releases"], "x") and running(fleet) == dynos

    # Back at this one, its records are not guessed at.
    for command in (["plan"], ["apply", "--auto-approve", "--skip-unreachable"], ["restart"]):
        refused = app.dynoctl(*command, code=1).stderr
        assert (
            f"grid-1: records have format {RECORDS_FORMAT + 1}, written by dynoctl 9.0.0; "
            f"dynoctl {__version__} reads formats up to {RECORDS_FORMAT}" in refused
        )
    assert state(app) == after
