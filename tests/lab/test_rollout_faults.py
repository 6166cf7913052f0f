"""Rollouts that are cut off in the middle: what ran goes on running, the report is true, the next apply converges."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.load import Load
from tests.lab.support import Project, eventually, get, let_pass

# Its second release takes its time to boot, so that there is a middle to cut it off in.
APP = """\
sleep 3 if ENV["WORD"] == "second" && ENV["DYNO"] != "web.0"
App = lambda { |env| [200, { "content-type" => "text/plain" }, ["#{ENV["DYNO"]} #{ENV["WORD"]}"]] }
"""


class Running:
    """An apply under way, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.err: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.err.append(line)

    def wait_for(self, words: str) -> None:
        eventually(lambda: any(words in line for line in self.err))

    def end(self) -> tuple[int, str]:
        assert self._process.stdout is not None and self._process.stderr is not None
        with self._process.stdout as stream:
            out = stream.read()
        code = self._process.wait(180)
        self._reader.join()
        self._process.stderr.close()
        if self._process.stdin is not None:
            self._process.stdin.close()
        assert "Traceback" not in out + "".join(self.err)
        return code, out


@pytest.fixture
def app(fleet: Any, tmp_path: Path) -> Iterator[Project]:
    source = tmp_path / "source"
    source.mkdir()
    (source / "app.rb").write_text(APP)
    framework = {"name": "rack", "require": "./app", "app": "App"}
    project = Project(tmp_path, fleet, "broken", source, framework=framework, app_server={"name": "puma"})
    project.manifest |= {"dynos": {"web": 3}, "env": {"WORD": "first"}}
    project.apply()
    project.manifest["env"]["WORD"] = "second"
    yield project
    project.destroy()


def begin(project: Project) -> Running:
    return Running(project.start("apply", "--auto-approve"))


def boots(fleet: Any, row: dict[str, Any]) -> None:
    """Wait for the middle of a dyno's batch: its new process is there, and does not answer yet."""
    show = ("systemctl", "show", "-p", "MainPID", "--value", f"dyno-broken-{row['dyno'].replace('.', '-')}")
    eventually(lambda: fleet.exec(row["server"], *show).stdout.strip() not in ("0", str(row["pid"])))


def words(project: Project, code: int = 0) -> dict[str, str]:
    """What the dynos of the servers that answer say."""
    rows = {name: row for name, row in project.ps(code=code).items() if row["state"] != "unknown"}
    return {name: project.get(row).split()[1] for name, row in rows.items()}


def converges(project: Project, fleet: Any) -> None:
    """The next apply ends it, and leaves no mark, no lock and no copy."""
    # The side that was cut off may still hold the lock for as long as it takes to see that.
    project.dynoctl("apply", "--auto-approve", "--lock-timeout", "60")
    assert set(words(project).values()) == {"second"}
    project.settled()
    assert project.dynoctl("lock", "status").stdout.count("free") == 3
    for server in fleet.names:
        left = (
            "cd /var/lib/dynoctl/broken && ls -d pending undo */*.new 2>/dev/null; "
            "ls -d /run/dynoctl-* 2>/dev/null | grep -vx -e /run/dynoctl-router -e /run/dynoctl-builds.lock; :"
        )
        assert fleet.exec(server, "sh", "-c", left).stdout == ""


@pytest.mark.parametrize(
    ("moment", "healthy", "during"),
    [
        pytest.param("web.1", 3, False, id="before", marks=pytest.mark.soak),
        pytest.param("web.1", 0, True, id="during"),
        pytest.param("web.2", 0, False, id="after", marks=pytest.mark.soak),
    ],
)
def test_a_server_dies_around_its_batch(app: Project, fleet: Any, moment: str, healthy: int, during: bool) -> None:
    app.manifest["rollout"] = {"min_healthy_time": healthy}
    rows = app.ps()
    dead = rows["web.2"]["server"]
    running = begin(app)
    running.wait_for(f"{moment} restarted")
    if during:
        boots(fleet, rows["web.2"])
    fleet.kill(dead)
    try:
        code, out = running.end()
        assert code == 4
        assert f"Failed: {dead}: " in out
        assert words(app, code=4) == {"web.1": "second", "web.3": "second"}, "a lost server stops nobody else"
    finally:
        fleet.start(dead)
    assert get(rows["web.2"]["listen"], rows["web.2"]["port"]), "it came back with its server"
    converges(app, fleet)


def test_sshd_is_killed_in_the_middle(app: Project, fleet: Any) -> None:
    row = app.ps()["web.2"]
    with Load([row]) as load:  # it begins first: a request that comes while the dyno boots waits until that is over
        running = begin(app)
        boots(fleet, row)
        fleet.exec(row["server"], "sh", "-c", "pkill -KILL -f '^sshd: root'; pkill -KILL sshd-session; :")
        code, out = running.end()
    assert code == 4
    assert f"Failed: {row['server']}: " in out
    assert load.failures == []
    converges(app, fleet)


@pytest.mark.soak
def test_the_network_is_cut_in_the_middle(app: Project, fleet: Any) -> None:
    """A cut of a minute. (That both sides give up is tested with less patience in the short suite, too.)"""
    row = app.ps()["web.2"]
    running = begin(app)
    boots(fleet, row)
    began = time.monotonic()
    fleet.cut(row["server"])
    try:
        code, out = running.end()
        free = "flock -n /run/dynoctl/broken.lock true"
        eventually(lambda: fleet.exec(row["server"], "sh", "-c", free, check=False).returncode == 0)
        let_pass(max(0.0, 60 - (time.monotonic() - began)), "a cut of a minute")
    finally:
        fleet.restore(row["server"])
    assert code == 4
    assert f"Failed: {row['server']}: " in out
    assert "connection lost" in out
    assert get(row["listen"], row["port"])
    converges(app, fleet)


def small_disk(fleet: Any, server: str, room: int) -> Callable[[], None]:
    """Put the app's directory on a file system with just so many kilobytes left; how to take that back."""
    home = "/var/lib/dynoctl/broken"
    script = f"""
set -e
mkdir /root/small
mount -t tmpfs -o size=$(($(du -sk {home} | cut -f1) + {room} + 64))k,mode=0700 small /root/small
cp -a {home}/. /root/small/
more=$(($(df -k --output=avail /root/small | tail -1) - {room}))
[ "$more" -le 0 ] || head -c $((more * 1024)) /dev/zero > /root/small/fill
mount --bind /root/small {home}
"""
    fleet.exec(server, "sh", "-c", script)

    def undo() -> None:
        back = f"umount -l {home} && rm -f /root/small/fill && cp -a /root/small/. {home}/ && umount -l /root/small"
        fleet.exec(server, "sh", "-c", f"{back} && rmdir /root/small")

    return undo


@pytest.mark.parametrize(
    "room",
    [pytest.param(64, id="no room for the slug"), pytest.param(0, id="no room at all", marks=pytest.mark.soak)],
)
def test_the_disk_is_full(app: Project, fleet: Any, room: int) -> None:
    row = app.ps()["web.2"]
    if room:
        (app.source / "noise").write_bytes(os.urandom(1 << 20))
    undo = small_disk(fleet, row["server"], room)
    try:
        done = app.apply(code=None)
        assert done.returncode == 1
        assert "no space left on device" in done.stdout
        assert f"Failed: {row['server']}: " in done.stdout
        now = app.ps()["web.2"]
        assert (now["pid"], app.get(now)) == (row["pid"], "web.2 first"), "it goes on as it was"
        fleet.exec(row["server"], "sh", "-c", "cat /dev/zero > /root/small/more 2>/dev/null; sync /root/small")
        app.dynoctl("restart", "web.2")
        assert app.ps()["web.2"]["pid"] != row["pid"], "a restart needs no disk"
    finally:
        fleet.exec(row["server"], "rm", "-f", "/root/small/more")
        undo()
    converges(app, fleet)


@pytest.mark.soak
def test_apply_is_killed_in_every_phase_under_load(app: Project, fleet: Any) -> None:
    """Nobody who asks sees anything of it."""
    rows = list(app.ps().values())
    with Load(rows) as load:
        for words_ in ("candidate answered", "web.1 restarted", "web.2 restarted"):
            running = app.start("apply", "--auto-approve")
            watched = Running(running)
            watched.wait_for(words_)
            let_pass(0.5, "it is killed in the middle of the next step")
            running.kill()
            assert watched.end()[0] == -9
            let_pass(4, "the step that was under way on the server ends without its apply")
            app.manifest["env"]["ROUND"] = words_.replace(" ", "-")
    assert load.failures == []
    converges(app, fleet)
