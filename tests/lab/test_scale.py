"""Counts change as at a PaaS, in a file that somebody wrote with care; restarts touch nothing but processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.model.target import Target
from infra.remote.locked import LockedShell
from infra.remote.session import Session
from tests.lab.load import Load
from tests.lab.support import APPS, Project
from tests.lab.terminal import Terminal

TEXT = """\
# The shop's own file — "web: 2" in a comment is no count ✓
version: 1   # of the format
app: {name: scale, source: app}
framework:
    name: rack
    require: ./probe
    app: Probe

dynos:
  # web: 4 in December
  web: 2            # <- the one that changes
  worker: {count: 1, command: [sleep, "1000"]}   # 1 is enough

env:
  WORD: one
  SECRET: {from_env: SCALE_SECRET}
"""
BOOM = """\
[Service]
ExecStartPre=/bin/sh -c "echo boom ${WORD} ${SECRET}; exit 1"
"""
END = "\n# the end: web: 2\n"


@pytest.fixture
def app(tmp_path: Path, fleet: Any) -> Any:
    project = Project(tmp_path, fleet, "scale", APPS / "probe")
    project.by_hand = True
    project.environment["SCALE_SECRET"] = "hunter2"
    file = tmp_path / "dyno.yaml"
    file.write_bytes((TEXT + yaml.safe_dump(fleet.inventory()) + END).replace("\n", "\r\n").encode())
    project.apply()
    yield project
    project.environment["SCALE_SECRET"] = "hunter2"
    project.destroy()


def pids(app: Project) -> dict[str, int]:
    return {name: row["pid"] for name, row in app.ps().items()}


def test_scale_changes_one_number_and_nothing_else(app: Project, fleet: Any) -> None:
    file = app.directory / "dyno.yaml"
    file.chmod(0o640)
    before = file.read_bytes()
    there = pids(app)
    assert app.dynoctl("scale").stdout == "web=2 worker=1\n"
    assert json.loads(app.dynoctl("scale", "--json").stdout) == {"format_version": 1, "dynos": {"web": 2, "worker": 1}}

    terminal = Terminal(app, "scale", "web+2")
    try:
        terminal.wait_for("Only 'yes' is accepted")
        assert file.read_bytes() == before
        terminal.say("no")
        text, code = terminal.end()
    finally:
        terminal.kill()
    assert code == 1 and "dyno.yaml: web 2 -> 4" in text and "2 dynos start." in text
    assert "nothing was changed." in text and "dyno.yaml is unchanged." in text
    assert (file.read_bytes(), pids(app)) == (before, there)

    assert "dyno.yaml is unchanged." in app.dynoctl("scale", "web=999", "--auto-approve", code=1).stderr
    target = Target("grid-2", fleet.address("grid-2"), "root", None, Path(fleet.key), Path(fleet.known_hosts))
    session = Session(target)
    shell = LockedShell(session, "scale", "somebody@elsewhere").take()
    try:
        done = app.dynoctl("scale", "web=4", "--auto-approve", code=1)
    finally:
        shell.close()
        session.close()
    assert "another apply is running" in done.stderr and "dyno.yaml is unchanged." in done.stderr
    assert file.read_bytes() == before

    terminal = Terminal(app, "scale", "web+2")
    try:
        terminal.wait_for("Only 'yes' is accepted")
        terminal.say("yes")
        text, code = terminal.end()
    finally:
        terminal.kill()
    assert code == 0, text
    assert file.read_bytes() == before.replace(b"\n  web: 2 ", b"\n  web: 4 "), "one number, and nothing else"
    assert file.stat().st_mode & 0o777 == 0o640
    now = pids(app)
    assert len(now) == 5 and now | there == now, "what ran runs on"
    app.settled()
    app.dynoctl("scale", "web-2", "worker=0", "--auto-approve")
    assert file.read_bytes() == before.replace(b"{count: 1,", b"{count: 0,")
    assert list(app.ps()) == ["web.1", "web.2"]
    app.settled()


STOPPED = "systemctl stop dyno-scale-web-1.socket dyno-scale-web-1.service && systemctl start dyno-scale-web-1.socket"


def test_a_restart_applies_nothing(app: Project, fleet: Any) -> None:
    file = app.directory / "dyno.yaml"
    file.write_bytes(file.read_bytes().replace(b"WORD: one", b"WORD: two"))
    (app.source / "round").write_text("a new release")
    del app.environment["SCALE_SECRET"]
    there = app.ps()
    assert "available: web, worker, web.1" in app.dynoctl("restart", "wbe", code=1).stderr

    text = app.dynoctl("restart", "web.1").stdout
    assert "Batch 1: web.1  # still up: 1 of 2 web\n" in text and "Restart complete" in text
    now = pids(app)
    assert {name for name, pid in now.items() if pid != there[name]["pid"]} == {"web.1"}

    web = [row for row in there.values() if row["port"]]
    with Load(web, "/") as load:
        lines = [json.loads(line) for line in app.dynoctl("restart", "--json").stdout.splitlines()]
    assert load.failures == [], load
    assert lines[0]["plan"]["batches"] == [["web.1"], ["web.2"], ["worker.1"]]
    assert (lines[-1]["exit_code"], lines[-1]["ok"]) == (0, True)
    rows = app.ps()
    assert not {row["pid"] for row in rows.values()} & set(now.values())
    assert {row["slug"] for row in rows.values()} == {row["slug"] for row in there.values()}, "as it ran"
    assert "restart" in app.dynoctl("history", "-n", "1").stdout

    # One that does not come back ends it; the rest is not touched.
    home = rows["web.1"]["server"]
    drop_in = "/etc/systemd/system/dyno-scale-web-1.service.d"
    fleet.exec(home, "sh", "-c", f"mkdir {drop_in}; cat > {drop_in}/x.conf; systemctl daemon-reload", input=BOOM)
    done = app.dynoctl("restart", "web", code=5)
    assert (
        "so its log is not shown; on the server: journalctl --namespace=+dyno-scale -u dyno-scale-web-1" in done.stdout
    ), "nobody could hide its secrets"
    assert "Failed: " in done.stdout and "no further dyno was restarted" in done.stdout and "boom" not in done.stdout
    assert app.ps()["web.2"]["pid"] == rows["web.2"]["pid"]
    app.environment["SCALE_SECRET"] = "hunter2"
    done = app.dynoctl("restart", "web.1", code=5)
    assert "boom one (sensitive)" in done.stdout and "hunter2" not in done.stdout
    del app.environment["SCALE_SECRET"]
    # A request that waits in the old socket would start it again.
    fleet.exec(home, "sh", "-c", f"rm -r {drop_in}; systemctl daemon-reload; {STOPPED}")
    assert "Not running, so started first: web.1" in app.dynoctl("restart", "web.1").stdout
    assert app.ps()["web.1"]["state"] == "up"

    app.environment["SCALE_SECRET"] = "hunter2"
    addresses = {change["address"].partition("/")[2] for change in app.plan()["changes"]}
    assert "env_file.scale-web.1" in addresses, "what was pending is pending"
    assert not any(change["drift"] for change in app.plan()["changes"])
