"""A dyno that nobody uses stops, and the next request starts it: none fails, and no health check wakes one."""

from __future__ import annotations

import http.client
import json
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.lab import status
from infra.lab.state import load
from tests.lab.load import Load
from tests.lab.support import WAIT, Project, eventually, get, snapshot

APP = """\
App = lambda do |env|
  sleep 0.05 until File.exist?("/tmp/go") if env["PATH_INFO"] == "/slow"
  [200, { "content-type" => "text/plain" }, [ENV["WORD"]]]
end
"""

BY_HAND = """
rackup = "/run/by-hand.ru"
File.write(rackup, File.read(Dir["/var/lib/dynoctl/nap/rackups/*"][0]))
argv = ["thin", "start", "-R", rackup, "-a", "127.0.0.1", "-p", "7999", "-e", "production"]
began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
pid = spawn(*argv, chdir: Dir["/srv/dyno/nap/*"][0], out: "/dev/null", err: "/dev/null")
begin
  TCPSocket.open("127.0.0.1", 7999) { |io| io.write("GET / HTTP/1.0\\r\\n\\r\\n"); io.readpartial(12) }
rescue SystemCallError
  sleep 0.005
  Process.wait(pid, Process::WNOHANG) ? abort("it ended") : retry
end
print Process.clock_gettime(Process::CLOCK_MONOTONIC) - began
Process.kill(:KILL, pid)
File.delete(rackup, *Dir["/tmp/.dynoctl-used"])
"""


@pytest.fixture
def make(fleet: Any, tmp_path: Path) -> Iterator[Any]:
    made: list[Project] = []

    def project(server: str) -> Project:
        source = tmp_path / "source"
        source.mkdir()
        (source / "app.rb").write_text(APP)
        framework = {"name": "rack", "require": "./app", "app": "App"}
        project = Project(tmp_path, fleet, "nap", source, framework=framework, app_server={"name": server})
        project.manifest["router"] = {"kind": "haproxy", "servers": ["grid-2"], "listen": 8090}
        project.manifest |= {"dynos": {"web": {"count": 2, "idle": 10}}, "env": {"WORD": "first"}}
        made.append(project)
        return project

    yield project
    for one in made:
        one.destroy()


@pytest.mark.parametrize(
    ("server", "cycles", "requests"),
    [("thin", 3, 0), *(pytest.param(name, 30, 1000, marks=pytest.mark.soak) for name in ("thin", "puma", "unicorn"))],
)
def test_who_is_not_used_stops_and_comes_back(
    make: Any, fleet: Any, server: str, cycles: int, requests: int, capsys: pytest.CaptureFixture[str]
) -> None:
    app = make(server)
    app.apply()
    used, unused = app.ps().values()
    answers: list[str] = []
    under_way = threading.Thread(target=lambda: answers.append(app.get(used, "/slow")))
    under_way.start()

    eventually(lambda: app.ps()["web.2"]["state"] == "idle")  # the router's checks do not use it
    assert app.ps()["web.1"]["state"] == "up", "a slow request is use"
    fleet.exec(used["server"], "touch", f"/proc/{used['pid']}/root/tmp/go")
    under_way.join()
    assert answers == ["first"]
    app.settled()
    assert "web (2 of 2 up)" in app.dynoctl("ps").stdout

    app.manifest["env"]["WORD"] = "second"  # a release boots where somebody uses it, and elsewhere with a request
    app.apply()
    assert app.ps()["web.2"]["state"] == "idle"
    app.settled()
    began = time.monotonic()
    assert app.get(unused) == "second"
    woken = time.monotonic() - began
    # A process of the server as the dyno is: it must not have the CPU of the local machine beside the servers.
    alone = ("systemd-run", "--quiet", "--pipe", "--wait", "--collect", "ruby", "-rsocket", "-e", BY_HAND)
    by_hand = float(fleet.exec(unused["server"], *alone).stdout)

    unit = f"dyno-nap-{used['dyno'].replace('.', '-')}.service"
    show = ("systemctl", "show", "-p", "ExecMainStartTimestampMonotonic", "--value", unit)
    stop = ("systemctl", "--no-block", "--job-mode=fail", "stop", unit)  # as the watch does

    def cycle() -> None:
        before = fleet.exec(used["server"], *show).stdout
        eventually(lambda: fleet.exec(used["server"], *stop, check=False).returncode == 0)
        eventually(lambda: fleet.exec(used["server"], *show).stdout not in (before, "0\n"))

    with Load([used]) as load:
        for _ in range(cycles):
            cycle()
        eventually(lambda: load.count >= requests, seconds=10 * WAIT)
    with capsys.disabled():
        print(f"\n{server}: first answer of an idle dyno {woken:.2f} s, of the app by hand {by_hand:.2f} s; {load}")
    assert load.failures == []
    app.settled()
    fleet.exec(used["server"], "systemctl", "stop", unit)
    assert get(fleet.address("grid-2"), 8090) == "second"


def test_a_preview_beside_production(fleet: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "app.rb").write_text(APP)
    framework = {"name": "rack", "require": "./app", "app": "App"}
    app = Project(tmp_path, fleet, "nap", source, framework=framework)
    app.manifest["router"] = {"kind": "nginx", "servers": ["grid-2"], "listen": 8090, "hosts": ["nap.example.org"]}
    app.manifest |= {"dynos": {"web": 1}, "env": {"WORD": "production"}}
    overlay = {"preview": {"host": "preview.example.org", "expires": "1h"}, "env": {"WORD": "preview"}}
    (tmp_path / "dyno.preview.yaml").write_text(yaml.safe_dump(overlay))

    def ask(host: str) -> str:
        with closing(http.client.HTTPConnection(fleet.address("grid-2"), 8090, timeout=WAIT)) as connection:
            connection.request("GET", "/", headers={"Host": host})
            return connection.getresponse().read().decode()

    try:
        app.apply()
        before, files = app.ps(), snapshot(fleet, "grid-1")
        app.dynoctl("preview", "up", "pr-1", "--auto-approve")
        assert (ask("nap.example.org"), ask("pr-1.preview.example.org")) == ("production", "preview")
        app.settled()
        assert "No changes." in app.dynoctl("plan", "-d", "preview:pr-1").stdout
        (found,) = json.loads(app.dynoctl("preview", "ls", "--json").stdout)["previews"]
        assert (found["name"], found["host"]) == ("pr-1", "pr-1.preview.example.org")
        assert app.dynoctl("preview", "down", "--expired", "--auto-approve").stdout == "", "it has an hour left"
        app.dynoctl("preview", "down", "pr-1", "--auto-approve")
        assert json.loads(app.dynoctl("preview", "ls", "--json").stdout)["previews"] == []
        assert app.ps()["web.1"]["pid"] == before["web.1"]["pid"]
        assert ask("nap.example.org") == "production"
        assert snapshot(fleet, "grid-1") == files
    finally:
        app.destroy()


@pytest.mark.soak
def test_a_hundred_previews_on_one_server(fleet: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All are idle after their first minute; a request wakes any of them."""
    many = 100
    source = tmp_path / "source"
    source.mkdir()
    (source / "app.rb").write_text(APP)
    framework = {"name": "rack", "require": "./app", "app": "App"}
    app = Project(tmp_path, fleet, "nap", source, framework=framework)
    app.manifest["servers"] = app.manifest["servers"][:1]
    app.manifest["router"] = {"kind": "nginx", "servers": ["grid-1"], "listen": 8090, "hosts": ["nap.example.org"]}
    app.manifest |= {"dynos": {"web": 1}, "env": {"WORD": "production"}}
    overlay = {
        "preview": {"host": "preview.example.org"},
        "dynos": {"web": {"count": 1, "idle": 10}},
        "env": {"WORD": "preview"},
    }
    (tmp_path / "dyno.preview.yaml").write_text(yaml.safe_dump(overlay))

    def memory() -> int:
        """MiB of all processes of the server, each page counted once."""
        lab = load(fleet.path.name)
        assert lab is not None
        return next(row.memory_bytes for row in status.rows(lab) if row.name == "grid-1") >> 20

    def ask(number: int) -> str:
        with closing(http.client.HTTPConnection(fleet.address("grid-1"), 8090, timeout=WAIT)) as connection:
            connection.request("GET", "/", headers={"Host": f"pr-{number}.preview.example.org"})
            return connection.getresponse().read().decode()

    def up(number: int) -> None:
        done = app.start("preview", "up", f"pr-{number}", "--auto-approve")
        out, err = done.communicate(timeout=10 * WAIT)
        assert done.returncode == 0, out + err

    try:
        app.apply()
        app.by_hand = True  # no command writes the manifest that another one reads
        before = memory()
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(up, range(1, many + 1)))
        running = "systemctl list-units --plain --no-legend --state=active 'dyno-*.service' | grep -cv ready"
        eventually(lambda: fleet.exec("grid-1", "sh", "-c", running).stdout == "1\n", seconds=10 * WAIT)
        after, seconds = memory(), []
        for _ in range(9):
            began = time.monotonic()
            process = app.start("plan", "-d", f"preview:pr-{many // 2}")
            assert "No changes." in process.communicate(timeout=WAIT)[0]
            seconds.append(time.monotonic() - began)
        with capsys.disabled():
            print(f"\n{many} idle previews: {before} -> {after} MiB, plan of one {statistics.median(seconds):.2f} s")
        assert after - before < 1024
        assert [ask(number) for number in range(1, many + 1)] == ["preview"] * many
        assert len(json.loads(app.dynoctl("preview", "ls", "--json").stdout)["previews"]) == many
    finally:
        for number in range(1, many + 1):
            app.dynoctl("preview", "down", f"pr-{number}", "--auto-approve", code=None)
        app.destroy()
