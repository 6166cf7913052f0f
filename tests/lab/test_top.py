"""``dynoctl top`` and ``ps`` on real servers: what they say of dynos at work, and that nothing of them stays."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tests.lab.support import STARTERS, Project, eventually
from tests.lab.terminal import Terminal


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, fleet: Any) -> Iterator[Project]:
    project = Project(
        tmp_path_factory.mktemp("busy"),
        fleet,
        "busy",
        STARTERS / "sinatra",
        framework={"name": "sinatra", "require": "./app", "app": "Shop"},
    )
    project.manifest["servers"] = project.manifest["servers"][:2]
    project.manifest["dynos"] = {"web": 2, "worker": {"count": 1, "command": "sleep 1d"}}
    project.apply()
    yield project
    project.destroy()


@contextmanager
def load(row: dict[str, Any]) -> Iterator[None]:
    """More requests at once than a dyno can take."""
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            with suppress(OSError, urllib.error.URLError):
                urllib.request.urlopen(f"http://{row['listen']}:{row['port']}/work?ms=100", timeout=60).read()

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(timeout=60)


def listeners(fleet: Any, server: str) -> str:
    return str(fleet.exec(server, "pgrep", "-f", "read -r beat", check=False).stdout)


def test_a_busy_dyno_is_told_from_an_idle_one(busy: Project, fleet: Any) -> None:
    rows = busy.ps()
    with load(rows["web.1"]):
        samples = []

        def waited() -> bool:
            samples.append(json.loads(busy.dynoctl("top", "--json").stdout))
            dynos = {dyno["dyno"]: dyno for dyno in samples[-1]["dynos"]}
            return dynos["web.1"]["cpu"] > 0.1 and dynos["web.1"]["waiting"] > 0

        eventually(waited)
    servers = {server["server"]: server for server in samples[-1]["servers"]}
    dynos = {dyno["dyno"]: dyno for dyno in samples[-1]["dynos"]}
    assert dynos["web.2"]["cpu"] < 0.1 and dynos["web.2"]["waiting"] == 0
    assert dynos["web.1"]["cpu"] < 0.4, "its share bounds it"
    assert all(dyno["release"] == 1 and dyno["share"] == 0.25 and dyno["state"] == "up" for dyno in dynos.values())
    assert 10 << 20 < dynos["web.1"]["memory"] < dynos["web.1"]["memory_max"] == 512 << 20
    for name, one in servers.items():
        taken = int(
            fleet.exec(name, "sh", "-c", "cat /etc/systemd/system/dyno-*.service | grep -c ^X-Dynoctl-Cpu").stdout
        )
        assert one["free_dynos"] == one["cores"] * 4 - taken
    text = busy.dynoctl("top", "--once").stdout
    assert re.search(r"^web\.1 +\S+ +up +\d+% of 25% ", text, re.MULTILINE) and "\x1b" not in text


def test_ps_says_which_release_a_dyno_runs(busy: Project) -> None:
    text = busy.dynoctl("ps").stdout
    assert text.startswith("busy is up: 3 of 3 dynos up\n\n=== web (2 of 2 up): sinatra on thin\nweb.1:     up ")
    assert "\n\n=== worker (1 of 1 up): sleep 1d\nworker.1:  up " in text
    busy.manifest["env"] = {"GREETING": "again"}
    busy.apply()
    assert {row["release"] for row in busy.ps().values()} == {2}
    document = json.loads(busy.dynoctl("ps", "--json").stdout)
    assert document["types"]["worker"] == {"command": "sleep 1d", "wanted": 1, "up": 1}


def test_a_terminal_that_cannot_be_redrawn_gets_one_table(busy: Project) -> None:
    """Such as a shell in Emacs, which showed nothing until q was pressed."""
    terminal = Terminal(busy, "top", kind="dumb")
    try:
        text, code = terminal.end()
    finally:
        terminal.kill()
    assert code == 0 and "\x1b" not in text
    assert re.search(r"^web\.2 +\S+ +up +\d+% of 25% ", text, re.MULTILINE)


@pytest.mark.parametrize("way", ["q", "interrupt", "kill"])
def test_a_terminal_is_given_back_and_nothing_stays(busy: Project, fleet: Any, way: str) -> None:
    terminal = Terminal(busy, "top", "-i", "0.5", size=(120, 30))
    try:
        terminal.wait_for("web.2")
        terminal.wait_for("of 25%")
        assert "\x1b[?1049h" in terminal.text
        eventually(lambda: all(listeners(fleet, server["name"]) for server in busy.manifest["servers"]))
        if way == "kill":
            os.kill(terminal.pid, signal.SIGKILL)
        elif way == "q":
            terminal.resize(80, 9)
            terminal.press("m")
            terminal.press("\x1b[B")
            terminal.wait_for("1 above")
            terminal.press("q")
        else:
            terminal.interrupt()
        text, code = terminal.end()
        if way != "kill":
            assert code == 0 and "\x1b[?1049l" in text and terminal.after == terminal.before
            assert "Traceback" not in text and "Error" not in text
        for one in busy.manifest["servers"]:
            eventually(lambda one=one: not listeners(fleet, one["name"]))
    finally:
        terminal.kill()
