"""Sockets outlive processes: no request fails while a dyno restarts, however few dynos there are."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.load import Load
from tests.lab.support import WAIT, Project, eventually, get

APP = """\
App = lambda do |env|
  if env["PATH_INFO"] == "/slow"
    warn "slow has begun"
    last = Time.now + 25
    sleep 0.05 until File.exist?("/tmp/go") || Time.now > last
  end
  exit! if env["PATH_INFO"] == "/crash"
  [200, { "content-type" => "text/plain" }, ["#{ENV["DYNO"]} #{ENV["WORD"]} #{Process.pid}"]]
end
"""


@pytest.fixture
def make(fleet: Any, tmp_path: Path) -> Iterator[Any]:
    made: list[Project] = []

    def project(server: str, dynos: int) -> Project:
        source = tmp_path / "source"
        source.mkdir()
        (source / "app.rb").write_text(APP)
        framework = {"name": "rack", "require": "./app", "app": "App"}
        project = Project(tmp_path, fleet, f"load-{server}", source, framework=framework, app_server={"name": server})
        project.manifest |= {"dynos": {"web": dynos}, "env": {"WORD": "first"}}
        made.append(project)
        return project

    yield project
    for one in made:
        one.destroy()


@pytest.mark.parametrize(
    ("server", "dynos"), [("thin", 1), ("puma", 1), ("unicorn", 1), pytest.param("thin", 6, marks=pytest.mark.soak)]
)
def test_no_request_fails(make: Any, server: str, dynos: int, capsys: pytest.CaptureFixture[str]) -> None:
    project = make(server, dynos)
    project.apply()
    rows = project.ps()
    with Load(rows.values()) as load:
        project.manifest["env"]["WORD"] = "second"  # a new environment
        project.apply()
        (project.source / "app.rb").write_text(APP + "# another release\n")  # a new source
        project.apply()
        if dynos > 1:
            project.dynoctl("rollback", "--auto-approve")
            project.manifest["dynos"]["web"] = dynos + 3  # up, and down again
            project.apply()
            project.manifest["dynos"]["web"] = dynos
            project.apply()
    with capsys.disabled():
        print(f"\n{dynos} dynos on {server}: {load}")
    assert load.failures == []
    assert load.count > 20 * dynos
    assert {name: row["pid"] for name, row in project.ps().items()} != {name: row["pid"] for name, row in rows.items()}
    assert "second" in project.get(project.ps()["web.1"])
    project.settled()


@pytest.mark.parametrize("server", ["thin", "puma", "unicorn"])
def test_what_is_under_way_ends_and_what_comes_in_waits(make: Any, fleet: Any, server: str) -> None:
    project = make(server, 1)
    if server == "thin":
        project.manifest["app_server"]["options"] = {"threaded": True}
    project.apply()
    row = project.ps()["web.1"]
    address = (row["listen"], row["port"])
    unit = f"dyno-load-{server}-web-1"
    old = get(*address).split()[-1]
    answers: list[str] = []

    def slow() -> None:
        answers.append(get(*address, "/slow"))

    under_way = threading.Thread(target=slow)
    under_way.start()
    journal = ("journalctl", "-q", "--namespace=*", "-o", "cat", "-u", unit)
    eventually(lambda: "slow has begun" in fleet.exec(row["server"], *journal).stdout)
    restart = threading.Thread(target=lambda: fleet.exec(row["server"], "systemctl", "restart", unit))
    restart.start()
    state = ("systemctl", "show", "-p", "ActiveState", "--value", unit)
    eventually(lambda: fleet.exec(row["server"], *state).stdout == "deactivating\n")
    if server == "puma":
        eventually(lambda: "Gracefully stopping" in fleet.exec(row["server"], *journal).stdout)
    with socket.create_connection(address, WAIT) as waiting:
        waiting.sendall(b"GET / HTTP/1.0\r\n\r\n")
        fleet.exec(row["server"], "touch", f"/proc/{row['pid']}/root/tmp/go")  # only now may the old process end
        answer = b"".join(iter(lambda: waiting.recv(4096), b"")).decode()
    assert "first" in answer
    if server == "puma":  # thin answers until it looks at its signals, unicorn's worker until its master tells it
        assert answer.split()[-1] != old, "it waited for the new process"
    under_way.join()
    restart.join()
    assert "first" in answers[0], "the old process ended what it was at"

    # A crash loses the request that caused it; what comes in afterwards waits for the next process.
    _ignore(address)
    assert "first" in get(*address, "/")

    # The socket is systemd's: with the service stopped, a connection waits, and wakes it.
    fleet.exec(row["server"], "systemctl", "stop", unit)
    assert "first" in get(*address, "/")
    eventually(lambda: project.ps()["web.1"]["state"] == "up")
    project.settled()


def _ignore(address: tuple[str, int]) -> None:
    with socket.create_connection(address, WAIT) as peer:
        peer.sendall(b"GET /crash HTTP/1.0\r\n\r\n")
        peer.recv(100)


def test_drift_of_a_socket_is_repaired(make: Any, fleet: Any) -> None:
    project = make("puma", 1)
    project.apply()
    row = project.ps()["web.1"]
    unit = "dyno-load-puma-web-1.socket"
    fleet.exec(row["server"], "sh", "-c", f"sed -i s/Backlog=.*/Backlog=5/ /etc/systemd/system/{unit}")
    text = project.dynoctl("plan").stdout
    assert 'unit.Socket.Backlog: "5" -> "1024"' in text
    assert "drift" in text
    project.apply()
    project.settled()
    fleet.exec(row["server"], "sh", "-c", f"systemctl stop {unit}")
    assert 'state: "stopped" -> "listening"' in project.dynoctl("plan").stdout
    project.apply()
    project.settled()
    # A socket that is shut down is active for systemd, and nobody listens.
    shut = f"""
    pid = `systemctl show -p MainPID --value {unit.replace("socket", "service")}`.to_i
    io = IO.for_fd(syscall(438, syscall(434, pid, 0), 3, 0))
    Socket.for_fd(io.fileno).shutdown
    """
    fleet.exec(row["server"], "ruby", "-rsocket", "-W0", "-e", shut)
    assert 'state: "not listening" -> "listening"' in project.dynoctl("plan").stdout
    assert project.ps()["web.1"]["state"] != "up"
    assert "web.1" in project.dynoctl("doctor", code=1).stdout
    project.apply()
    project.settled()
    assert "first" in project.get(project.ps()["web.1"])
    # An outgoing connection has the port of the next dyno.
    for name in fleet.names:
        take = f"""
        io = Socket.new(:INET, :STREAM)
        io.bind(Addrinfo.tcp("{fleet.address(name)}", 5077))
        io.connect(Addrinfo.tcp("{fleet.address("data")}", 5432))
        sleep
        """
        fleet.exec(name, "systemd-run", "--collect", "--unit=taker", "ruby", "-rsocket", "-e", take)
        eventually(lambda name=name: "ESTAB" in fleet.exec(name, "ss", "-Htn", "sport = :5077").stdout)
    project.manifest["dynos"] = {"web": {"count": 2, "port": 5077}}
    try:
        assert "Address already in use" in project.dynoctl("apply", "--auto-approve", code=None).stdout
    finally:
        for name in fleet.names:
            fleet.exec(name, "systemctl", "stop", "taker")
