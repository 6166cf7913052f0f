"""What goes wrong at three in the morning: dead servers, killed applies, bad apps, taken locks, cut networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.errors import DynoctlError
from infra.model.resource import Command
from infra.model.shell import LockTaken
from infra.model.target import Target
from infra.remote import locked
from infra.remote.locked import LockedShell
from infra.remote.session import Session
from tests.lab.support import APPS, AWAY_AFTER, Project, eventually, get, snapshot, stays

PATIENCE = 8
"""Seconds without a heartbeat after which both sides give up, here: long for a heart that beats every second."""


@pytest.fixture
def app(tmp_path: Path, fleet: Any) -> Any:
    framework = {"name": "rack", "require": "./probe", "app": "Probe"}
    project = Project(tmp_path, fleet, "faults", APPS / "probe", framework=framework)
    project.manifest["dynos"] = {"web": 3}
    yield project
    project.manifest |= fleet.inventory()
    project.destroy()


def test_a_reboot_brings_the_dynos_back(app: Project, fleet: Any) -> None:
    app.apply()
    before = app.ps()
    fleet.reboot("grid-1")
    row = next(row for row in before.values() if row["server"] == "grid-1")
    assert "probe" in eventually(lambda: get(row["listen"], row["port"]))
    eventually(lambda: app.ps()[row["dyno"]]["state"] == "up")
    app.settled()


def test_a_dead_server_does_not_stop_the_rest(app: Project, fleet: Any) -> None:
    app.apply()
    lives = {name: row["server"] for name, row in app.ps().items()}
    dead = next(name for name, server in lives.items() if server == "grid-2")
    fleet.kill("grid-2")
    try:
        done = app.dynoctl("plan", code=4)
        assert "Unreachable: cannot connect to grid-2" in done.stdout
        assert f"{dead} stays on grid-2, unchanged." in done.stdout
        app.manifest["dynos"]["web"] = 5
        app.apply(code=4)
        rows = app.ps(code=4)
        assert {name for name, row in rows.items() if row["state"] == "unknown"} == {dead}, "its number is kept for it"
        assert len(rows) == 5
    finally:
        fleet.start("grid-2")
    eventually(lambda: [row["state"] for row in app.ps().values()] == ["up"] * 5)
    app.settled()
    assert app.ps()[dead]["server"] == "grid-2"


def test_a_dead_server_can_leave_and_be_forgotten(app: Project, fleet: Any) -> None:
    app.apply()
    lost = next(name for name, row in app.ps().items() if row["server"] == "grid-3")
    fleet.kill("grid-3")
    try:
        app.manifest["servers"].pop()
        app.manifest["ssh"]["connect_timeout"] = AWAY_AFTER
        done = app.apply(code=4)
        assert "Unreachable: cannot connect to grid-3" in done.stdout
        assert app.ps()[lost]["server"] in ("grid-1", "grid-2"), "its dyno has a new home"
        app.dynoctl("apply", "--auto-approve", "--forget", "grid-3")
        app.settled()
    finally:
        fleet.start("grid-3")
    # It comes back with what it had; who takes it in again cleans it up.
    app.manifest |= fleet.inventory()
    app.apply()
    app.settled()
    assert len(app.ps()) == 3


def test_a_dyno_that_does_not_come_up_stops_the_rollout(app: Project) -> None:
    app.apply()
    good = app.ps()
    source = (app.source / "probe.rb").read_text()
    # Its candidate answers; only where a real dyno runs does it break.
    (app.source / "probe.rb").write_text('raise "this release is broken" unless ENV["DYNO"] == "web.0"\n' + source)
    done = app.apply(code=5)
    assert "Failed: " in done.stdout
    assert "this release is broken" in done.stdout, "the dyno's own words"
    assert "The rollout stopped:" in done.stdout
    assert "Reverted to what ran before: web.1." in done.stdout
    rows = app.ps()
    assert "probe" in app.get(rows["web.1"])
    assert all(rows[name]["pid"] == good[name]["pid"] for name in ("web.2", "web.3")), "the others run as they did"
    (app.source / "probe.rb").write_text(source)
    app.apply()
    app.settled()
    assert all(row["state"] == "up" for row in app.ps().values())


BROKEN = (
    ('raise "this release is broken: \\u2717"', "RuntimeError: this release is broken"),
    ("class", "cannot load ./probe: SyntaxError: /app/probe.rb:"),
    ("require 'no-such-gem'", "cannot load ./probe: LoadError: cannot load such file -- no-such-gem"),
    ("Nothing::Here", "cannot load ./probe: NameError: uninitialized constant Nothing"),
    ("Probe = 1", "framework/app: Probe does not answer call"),
    ("exit 0", "exited with status 0 before it answered a request"),
    ("Process.kill(:KILL, Process.pid)", "killed by SIGKILL"),
    ("Probe = ->(env) { raise 'at every request' }", "GET / answered 500"),
)


@pytest.mark.parametrize(
    "server", ["thin", *(pytest.param(one, marks=pytest.mark.soak) for one in ("puma", "unicorn"))]
)
def test_a_release_whose_candidate_does_not_answer_is_rejected(app: Project, server: str, soak: bool) -> None:
    app.manifest["app_server"] = {"name": server}
    app.manifest["dynos"]["web"] = 2
    app.environment["PYTHONIOENCODING"] = "latin-1"  # a report is printed on any terminal
    app.apply()
    good = app.ps()
    where = sorted(row["server"] for row in good.values())
    source = (app.source / "probe.rb").read_text()
    for line, says in BROKEN if soak and server == "thin" else (BROKEN[0], BROKEN[5], BROKEN[7]):
        (app.source / "probe.rb").write_text(f"{line}\n" + ("" if line.startswith("Probe =") else source))
        done = app.apply(code=5)
        both = f"release rejected: its candidate did not become healthy on {', '.join(where)}"
        assert both in done.stdout or done.stdout.count("release rejected:") == 2
        assert says in done.stdout, line
        assert "The release was rejected before any dyno was changed." in done.stdout
        rows = app.ps()
        assert {name: (row["pid"], row["slug"]) for name, row in rows.items()} == {
            name: (row["pid"], row["slug"]) for name, row in good.items()
        }
    assert all("probe" in app.get(row) for row in app.ps().values())
    left = "ls /run/systemd/system/*candidate* /run/*candidate*; systemctl list-units --all --no-legend '*candidate*'"
    assert all(app.fleet.exec(one, "sh", "-c", left, check=False).stdout == "" for one in where)
    (app.source / "probe.rb").write_text(source)
    app.apply()
    app.settled()


def test_the_release_command_runs_once_before_any_dyno_moves(app: Project, fleet: Any) -> None:
    tell = 'echo "released $WORD in $(pwd) of $DYNO with $SECRET"'
    count = "redis-cli", "get", "released"
    fleet.exec("data", "redis-cli", "del", "released")
    ruby = 'ruby -rredis -e "Redis.new(url: ENV[%q(REDIS_URL)]).incr(%q(released))"'
    app.environment["HIDDEN"] = "hunter2-hunter2"
    app.manifest["env"] = {"WORD": "one", "SECRET": {"from_env": "HIDDEN"}}
    app.manifest["cache"] = {"adapter": "redis", "url": {"from_file": str(fleet.path / "cache_url")}}
    app.manifest["release_command"] = f"{tell}; {ruby}"
    assert "The release command runs once, on grid-1." in app.dynoctl("plan").stdout
    done = app.apply()
    said = "released one in /app of release.0 with (sensitive)"
    assert f"Output of the release command:\n  | {said}" in done.stdout
    assert fleet.exec("data", *count).stdout.strip() == "1"
    good = app.ps()

    app.manifest["dynos"]["web"] = 5  # the same release
    app.apply()
    assert fleet.exec("data", *count).stdout.strip() == "1", "scaling is no release"

    app.manifest["env"]["WORD"] = "two"
    app.manifest["release_command"] = f"{ruby}; echo going wrong; exit 3"
    done = app.apply(code=5)
    assert "release rejected: the release command failed" in done.stdout
    assert "going wrong" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr
    assert {name: row["pid"] for name, row in app.ps().items() if name in good} == {
        name: row["pid"] for name, row in good.items()
    }
    assert fleet.exec("data", *count).stdout.strip() == "2"
    left = (
        "ls -d /run/systemd/system/*dynoctl* /run/dynoctl-* | grep -vx /run/dynoctl-builds.lock; "
        "systemctl list-units --all --no-legend 'dynoctl-*'"
    )
    assert fleet.exec("grid-1", "sh", "-c", left, check=False).stdout == ""
    app.manifest["release_command"] = ["sh", "-c", "exit 0"]
    app.apply()
    app.settled()


def test_a_release_command_that_nobody_waits_for_any_more_runs_once(app: Project, fleet: Any) -> None:
    app.manifest["dynos"]["web"] = 2
    app.apply()
    where = app.ps()["web.1"]["server"]
    counted = "redis-cli", "get", "alone"
    fleet.exec("data", "redis-cli", "del", "alone")
    app.manifest["cache"] = {"adapter": "redis", "url": {"from_file": str(fleet.path / "cache_url")}}
    app.manifest["release_command"] = 'ruby -rredis -e "Redis.new(url: ENV[%q(REDIS_URL)]).incr(%q(alone))"; sleep 5'
    process = app.start("apply", "--auto-approve")
    eventually(lambda: fleet.exec("data", *counted).stdout.strip() == "1")
    process.kill()
    process.communicate()

    # While it may still run nobody begins another, not even where its server is not asked.
    app.manifest["ssh"]["connect_timeout"] = AWAY_AFTER
    fleet.cut(where)
    try:
        done = app.apply(code=None)
    finally:
        fleet.restore(where)
    assert f"may still be running on {where}, which is unreachable" in done.stdout + done.stderr
    app.dynoctl("apply", "--auto-approve", "--lock-timeout", "60")
    assert fleet.exec("data", *counted).stdout.strip() == "1", "it ended well, and systemd remembers that"
    marked = "ls /var/lib/dynoctl/faults/releases/*.commanded"
    assert fleet.exec(where, "sh", "-c", marked, check=False).returncode != 0
    app.settled()


def test_a_dyno_that_cannot_move_stays_where_it_is_with_all_that_it_needs(app: Project, fleet: Any) -> None:
    app.apply()
    moving = next(name for name, row in app.ps().items() if row["server"] == "grid-3")
    old = app.ps()[moving]
    source = (app.source / "probe.rb").read_text()
    (app.source / "probe.rb").write_text(f'raise "not here" if ENV["DYNO"] == "{moving}"\n' + source)
    app.manifest["servers"].pop()
    done = app.apply(code=5)
    assert "not here" in done.stdout and f"Reverted to what ran before: {moving}." in done.stdout
    fleet.exec("grid-3", "test", "-e", f"/srv/dyno/faults/{old['slug']}/probe.rb")
    assert "probe" in get(old["listen"], old["port"]), "its old self serves on"
    (app.source / "probe.rb").write_text(source)
    app.apply()
    app.settled()
    assert app.ps()[moving]["server"] != "grid-3"


def test_nothing_of_an_app_without_dynos_stays(app: Project, fleet: Any) -> None:
    before = {server: snapshot(fleet, server) for server in fleet.names}
    app.apply()
    app.manifest["dynos"]["web"] = 0
    app.apply()
    app.settled()
    app.destroy()
    assert {server: snapshot(fleet, server) for server in fleet.names} == before


def test_a_server_that_answers_is_not_forgotten(app: Project) -> None:
    app.apply()
    app.manifest["servers"].pop()
    done = app.dynoctl("apply", "--auto-approve", "--forget", "grid-3", code=1)
    assert "cannot forget grid-3: reachable" in done.stderr


def test_destroy_remembers_a_server_that_left_and_is_away(app: Project, fleet: Any) -> None:
    before = snapshot(fleet, "grid-3")
    app.apply()
    app.manifest["servers"].pop()
    app.manifest["ssh"]["connect_timeout"] = AWAY_AFTER
    fleet.kill("grid-3")
    try:
        app.dynoctl("destroy", "--auto-approve", code=4)
        app.dynoctl("destroy", "--auto-approve", code=4)
    finally:
        fleet.start("grid-3")
    eventually(lambda: app.dynoctl("destroy", "--auto-approve", code=None).returncode == 0)
    assert snapshot(fleet, "grid-3") == before


def test_an_idle_server_can_leave_at_any_time(app: Project, fleet: Any) -> None:
    app.manifest["dynos"]["web"] = 3
    app.apply()
    app.manifest["dynos"]["web"] = 2
    app.apply()
    assert {row["server"] for row in app.ps().values()} == {"grid-1", "grid-2"}
    left = fleet.exec("grid-3", "sh", "-c", "find /var/lib/dynoctl/faults").stdout
    assert "body" not in left and "squashfs" not in left, "no code and no secret is left where no dyno is"
    app.manifest["servers"].pop()
    fleet.kill("grid-3")
    try:
        app.apply()
        app.settled()
    finally:
        fleet.start("grid-3")


def target(fleet: Any, server: str) -> Target:
    return Target(server, fleet.address(server), "root", None, Path(fleet.key), Path(fleet.known_hosts))


def test_a_second_apply_says_who_holds_the_lock(app: Project, fleet: Any) -> None:
    session = Session(target(fleet, "grid-2"))
    shell = LockedShell(session, "faults", "somebody@elsewhere since noon").take()
    try:
        done = app.apply(code=1)
        assert "grid-2: another apply is running: somebody@elsewhere since noon" in done.stderr
        assert app.ps() == {}, "all servers or none"
        lines = app.dynoctl("apply", "--auto-approve", "--json", code=1).stdout.splitlines()
        last = json.loads(lines[-1])
        assert (last["type"], last["exit_code"], last["ok"]) == ("report", 1, False)
        assert "somebody@elsewhere since noon" in last["error"]["summary"]
        states = app.dynoctl("lock", "status").stdout.splitlines()
        assert [line.split()[1] for line in states] == ["free", "held", "free"], states
    finally:
        shell.close()
        session.close()
    app.apply()


def test_a_crash_frees_the_lock_at_once(fleet: Any) -> None:
    first, second = Session(target(fleet, "grid-1")), Session(target(fleet, "grid-1"))
    LockedShell(first, "crash", "first").take()
    with pytest.raises(LockTaken):
        LockedShell(second, "crash", "second").take()
    first.close()  # as the kernel does for a process that was killed
    shell = eventually(lambda: attempt(second))
    shell.forget()
    second.close()


def test_whoever_waits_for_a_lock_does_not_end_its_holder(fleet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locked, "BEAT", 1)
    monkeypatch.setattr(locked, "PATIENCE", PATIENCE)
    first, second = Session(target(fleet, "grid-1")), Session(target(fleet, "grid-1"))
    holder = LockedShell(first, "wait", "first").take()

    def held() -> bool:
        with pytest.raises(LockTaken):
            LockedShell(second, "wait", "second").take()
        return holder.run([Command(("echo", "here"))]) == "here"

    stays(held, 2 * PATIENCE + 1, "more than twice as long as anybody is patient")
    holder.forget()
    eventually(lambda: fleet.exec("grid-1", "sh", "-c", "ls /run/dynoctl/wait*", check=False).stdout == "")
    LockedShell(second, "wait", "second").take().forget()
    first.close()
    second.close()


def attempt(session: Session) -> LockedShell | None:
    try:
        return LockedShell(session, "crash", "again").take()
    except LockTaken:
        return None


def test_a_network_cut_without_a_word_frees_the_lock(fleet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locked, "BEAT", 1)
    monkeypatch.setattr(locked, "PATIENCE", PATIENCE)
    session = Session(target(fleet, "grid-3"))
    shell = LockedShell(session, "cut", "the one that is cut off").take()
    shell.run([Command(("sleep", str(PATIENCE + 2)))])  # longer than the patience, with a heartbeat: the lock stays
    fleet.cut("grid-3")
    try:
        taken = "flock -n /run/dynoctl/cut.lock true"
        eventually(lambda: fleet.exec("grid-3", "sh", "-c", taken, check=False).returncode == 0)
        with pytest.raises(DynoctlError):
            shell.run([Command(("touch", "/root/too-late"))])
    finally:
        fleet.restore("grid-3")
        shell.close()
        session.close()
    late = ("ls", "/root/too-late")
    stays(lambda: fleet.exec("grid-3", *late, check=False).returncode != 0, 2, "what was on its way arrives now")
    beats = "ls /run/dynoctl/cut.lock.beat.* 2>/dev/null"
    eventually(lambda: fleet.exec("grid-3", "sh", "-c", beats, check=False).stdout == "")
    fleet.exec(
        "grid-3", "sh", "-c", "rm -f /run/dynoctl/cut.lock*; rm -f /run/dynoctl/lock; rmdir /run/dynoctl", check=False
    )


def test_a_plan_that_went_stale_is_refused(app: Project, fleet: Any, tmp_path: Path) -> None:
    app.apply()
    app.manifest["env"] = {"A": "1"}
    (app.directory / "dyno.yaml").unlink()
    process = _at_a_terminal(app)
    try:
        process.wait_for("Only 'yes' is accepted")
        fleet.exec("grid-1", "systemctl", "stop", "dyno-faults-web-1")
        process.say("yes")
        text, code = process.end()
    finally:
        process.kill()
    assert "stale plan: grid-1 changed after the plan was made; nothing was applied" in text
    assert code == 1
    app.apply()
    app.settled()


def test_ctrl_c_finishes_the_step_and_reports(app: Project) -> None:
    app.manifest["dynos"]["web"] = 6
    process = _at_a_terminal(app)
    try:
        process.wait_for("Only 'yes' is accepted")
        process.say("yes")
        process.wait_for("start web.")
        process.interrupt()
        text, code = process.end()
    finally:
        process.kill()
    words = " ".join(text.split())  # lines break between words
    assert "Interrupted: finishing " in words and "nothing else is started." in words
    assert "Press Ctrl-C again to exit at once" in words and "\x1b[?25l" not in text
    assert code in (0, 1)
    if code == 1:
        assert "Interrupted: the current step was finished, and no further step was started." in words
        assert "INTERRUPTED. v" in " ".join(text.splitlines()[-2:]), "the last line may be wrapped"
    app.apply()
    app.settled()
    assert len(app.ps()) == 6


def _at_a_terminal(app: Project) -> Any:
    from tests.lab.terminal import Terminal

    return Terminal(app, "apply")
