"""``dynoctl logs`` on real servers: merged in order, only what is the app's, past servers that go and come back."""

from __future__ import annotations

import json
import queue
import secrets
import signal
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.support import DYNOCTL, STARTERS, Project, eventually
from tests.lab.terminal import Terminal

SERVERS = 8
EACH = 1250
BURST = f"burst {secrets.token_hex(4)}"  # a lab that was kept has journals of earlier runs

# Says something as soon as it starts, and what it was to say once it is told to; the burst takes about a second.
TALKER = """\
exec ruby -e 'STDOUT.sync = true; trap("USR1") { $go = true }; puts "ready \\e[31mred\\e[2J"; sleep 0.02 until $go;
EACH.times { |n| puts "BURST #{n}"; sleep 0.0005 }; sleep'
""".replace("EACH", str(EACH)).replace("BURST", BURST)

FOREIGN = r"""
systemd-run -q --wait --unit=dyno-talk-admin-worker-1 --slice='dyno-talk\x2dadmin.slice' \
  -p SyslogIdentifier=talk-worker.1 echo FOREIGN
logger -t talk-worker.1 FOREIGN
printf 'MESSAGE=FOREIGN\nUNIT=dyno-talk-worker-1.service\nSYSLOG_IDENTIFIER=systemd\n' | logger --journald
journalctl --sync
"""


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory, fleet: Any) -> Iterator[Project]:
    names = fleet.need(SERVERS)
    project = Project(
        tmp_path_factory.mktemp("talk"),
        fleet,
        "talk",
        STARTERS / "sinatra",
        framework={"name": "sinatra", "require": "./app", "app": "Shop"},
    )
    project.manifest |= fleet.inventory(*names)
    project.manifest["dynos"] = {"web": 1, "worker": {"count": SERVERS, "command": TALKER, "cpu": 0.25}}
    project.apply()
    yield project
    project.destroy()


class Following:
    """``dynoctl logs -f`` that runs, and what it said so far."""

    def __init__(self, project: Project, *argv: str) -> None:
        self.process = project.start("logs", "-f", *argv)
        self.lines: queue.Queue[str] = queue.Queue()
        self.said = ""
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._read, self._hear)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Following:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join(timeout=60)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.put(line)

    def _hear(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.said += line

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=60)


def listeners(fleet: Any, server: str) -> str:
    """The processes of a stream on a server."""
    return str(fleet.exec(server, "pgrep", "-f", "read -r beat|journalctl.*--follow", check=False).stdout)


def test_ten_thousand_lines_of_eight_servers_come_in_order(talk: Project, fleet: Any) -> None:
    homes = {name: row["server"] for name, row in talk.ps().items() if name != "web.1"}
    assert len(set(homes.values())) == SERVERS
    others = SERVERS - 1
    whole = [f"{BURST} {number}" for number in range(EACH)]
    eventually(lambda: talk.dynoctl("logs", "-n", "100000").stdout.count("]: ready") >= SERVERS)
    with Following(talk, "-n", "1", "--json") as following:
        following.lines.get(timeout=60)
        # One restarts while the others talk.
        for dyno, server in list(homes.items())[1:]:
            fleet.exec(server, "systemctl", "kill", "-s", "USR1", f"dyno-talk-{dyno.replace('.', '-')}.service")
        fleet.exec(homes["worker.1"], "systemctl", "restart", "dyno-talk-worker-1.service")
        bursts: dict[str, list[str]] = defaultdict(list)
        restarted = False
        while sum(len(bursts[dyno]) for dyno in homes if dyno != "worker.1") < EACH * others or not restarted:
            try:
                one = json.loads(following.lines.get(timeout=60))
            except queue.Empty:
                missing = {dyno: sorted(set(whole) - set(bursts[dyno])) for dyno in homes if dyno != "worker.1"}
                pytest.fail(f"restarted: {restarted}, missing: {missing}, {following.said}")
            assert one["server"] == homes[one["dyno"]] and one["format_version"] == 1
            if one["message"].startswith(BURST):
                bursts[one["dyno"]].append(one["message"])
            restarted = restarted or (one["dyno"] == "worker.1" and one["message"].startswith("ready"))
        assert following.end() == 130 and following.said == "", following.said
    fleet.exec(homes["worker.1"], "systemctl", "kill", "-s", "USR1", "dyno-talk-worker-1.service")

    def all_of() -> list[dict[str, Any]]:
        done = talk.dynoctl("logs", "-n", "100000", "--json")
        found = [json.loads(line) for line in done.stdout.splitlines()]
        return found if sum(one["message"].startswith(BURST) for one in found) >= EACH * SERVERS else []

    found = eventually(all_of)
    assert sum(one["message"].startswith(BURST) for one in found) == EACH * SERVERS == 10_000
    times = [one["time"] for one in found]
    assert times == sorted(times)
    for dyno in homes:
        own = [one["message"] for one in found if one["dyno"] == dyno and one["message"].startswith(BURST)]
        assert own == whole, dyno
        if dyno != "worker.1":
            assert bursts[dyno] == whole, dyno
    last = talk.dynoctl("logs", "-n", "1000", "--json").stdout.splitlines()
    assert [json.loads(line) for line in last] == found[-1000:], "the newest of the whole fleet, not of each server"
    for server in homes.values():
        eventually(lambda server=server: not listeners(fleet, server))


def test_only_what_is_the_apps_and_was_asked_for(talk: Project, fleet: Any) -> None:
    home = talk.ps()["worker.1"]["server"]
    fleet.exec(home, "sh", "-c", FOREIGN)
    text = talk.dynoctl("logs", "-n", "100000").stdout
    assert "FOREIGN" not in text
    assert "systemd[worker.1]: Started" in text
    assert "app[worker.1]: ready red\\x1b[2J\n" in text, "colours go, and what would clear the screen is shown"
    assert "\x1b" not in text

    third = talk.ps()["worker.3"]["server"]
    fleet.exec(third, "systemctl", "kill", "-s", "USR1", "dyno-talk-worker-3.service")

    def newest() -> list[dict[str, Any]]:
        done = talk.dynoctl("logs", "-d", "worker.3", "--json")
        found = [json.loads(line) for line in done.stdout.splitlines()]
        return found if len(found) == 100 else []

    assert {line["dyno"] for line in eventually(newest)} == {"worker.3"}
    servers = talk.dynoctl("logs", "-s", home, "-t", "worker", "-n", "50", "--json").stdout.splitlines()
    assert {json.loads(line)["server"] for line in servers} == {home}
    assert talk.dynoctl("logs", "--since", "2099-01-01").stdout == ""
    for argv, says in (
        (("-t", "clock"), "no such process type: clock\nhint: available: web, worker"),
        (("-d", "worker.99"), "no such dyno: worker.99\nhint: available: web.1, worker.1, worker.2,"),
        (("-s", "grid-99"), "no such server: grid-99\nhint: available: grid-1,"),
        (("--since", "$(reboot)"), "invalid time"),
    ):
        done = talk.dynoctl("logs", *argv, code=1)
        assert says in done.stderr and done.stdout == ""


def test_a_pipe_gets_plain_lines_and_a_terminal_colours(talk: Project) -> None:
    talk.dynoctl("validate")  # writes the manifest
    script = '"$0" logs -f -n 5000 | head -n 2; echo done'
    done = subprocess.run(["sh", "-c", script, DYNOCTL], cwd=talk.directory, capture_output=True, text=True, timeout=60)
    assert done.stdout.count("\n") == 3 and "\x1b" not in done.stdout and done.stderr == ""
    terminal = Terminal(talk, "logs", "-f", "-n", "3")
    try:
        terminal.wait_for("\x1b[38;5;")
        terminal.interrupt()
        assert terminal.end()[1] == 130
    finally:
        terminal.kill()
    talk.environment["NO_COLOR"] = "1"
    try:
        text, code = Terminal(talk, "logs", "-n", "3").end()
    finally:
        del talk.environment["NO_COLOR"]
    assert code == 0 and "\x1b" not in text and text.count("]: ") == 3


def test_following_goes_on_when_a_server_comes_back(talk: Project, fleet: Any) -> None:
    row = talk.ps()["worker.2"]
    terminal = Terminal(talk, "top")
    try:
        with Following(talk, "-n", "0", "-d", "worker.2") as following:
            terminal.wait_for("worker.2")
            eventually(lambda: fleet.exec(row["server"], "pgrep", "-f", "journalctl.*--follow", check=False).stdout)
            fleet.reboot(row["server"])
            terminal.wait_for("unreachable")
            eventually(lambda: f"{row['server']} is unreachable, retrying" in following.said)
            eventually(lambda: f"{row['server']} is reachable again" in following.said)
            while "app[worker.2]: ready" not in following.lines.get(timeout=60):
                pass
            eventually(lambda: _came_back(terminal))
            assert following.end() == 130
        terminal.interrupt()
        assert terminal.end()[1] == 0
    finally:
        terminal.kill()


def _came_back(terminal: Terminal) -> bool:
    """Whether nobody is away on the next whole screen."""
    for _ in range(2):
        terminal.text = terminal.text.rpartition("dynos up")[2]
        terminal.wait_for("dynos up")
    screen = terminal.text.partition("dynos up")[0]
    return "worker.2" in screen and "unreachable" not in screen


@pytest.mark.soak
def test_a_cut_cable_is_noticed_on_both_sides(talk: Project, fleet: Any) -> None:
    """And no line is lost, even if the journal of the lines that were read is gone."""
    row = talk.ps()["worker.2"]
    fleet.exec(row["server"], "systemctl", "restart", "dyno-talk-worker-2.service")
    try:
        with Following(talk, "-n", "1", "-d", "worker.2") as following:
            following.lines.get(timeout=60)
            eventually(lambda: fleet.exec(row["server"], "pgrep", "-f", "journalctl.*--follow", check=False).stdout)
            fleet.cut(row["server"])
            eventually(lambda: f"{row['server']} is unreachable, retrying" in following.said)
            eventually(lambda: not listeners(fleet, row["server"]))
            for journal in ("--namespace=dyno-talk", "--namespace="):
                for change in ("--rotate", "--vacuum-size=1"):
                    fleet.exec(row["server"], "journalctl", "-q", journal, change)
            fleet.exec(row["server"], "systemctl", "kill", "-s", "USR1", "dyno-talk-worker-2.service")
            eventually(lambda: f"{BURST} {EACH - 1}" in talk_of(fleet, row["server"]))
            fleet.restore(row["server"])
            eventually(lambda: f"{row['server']} is reachable again" in following.said)
            sent, *burst = [following.lines.get(timeout=60) for _ in range(EACH + 1)]
            assert "Sent signal SIGUSR1" in sent
            assert [line.partition("]: ")[2].strip() for line in burst] == [f"{BURST} {n}" for n in range(EACH)]
    finally:
        fleet.restore(row["server"])
    eventually(lambda: not listeners(fleet, row["server"]))


def talk_of(fleet: Any, server: str) -> str:
    """What the app said on a server."""
    return str(fleet.exec(server, "journalctl", "-q", "--namespace=dyno-talk", "-o", "cat").stdout)


def test_a_server_that_is_away_is_named(talk: Project) -> None:
    servers = talk.manifest["servers"]
    talk.manifest["servers"] = [{**servers[0], "host": "127.0.0.1", "port": 1}, *servers[1:3]]
    try:
        done = talk.dynoctl("logs", "-n", "1", code=4)
    finally:
        talk.manifest["servers"] = servers
    assert done.stdout.count("\n") == 1 and done.stderr.startswith("error: cannot connect to grid-1 (127.0.0.1:1): ")


def test_a_line_that_journalctl_passed_over_is_shown_after_a_pause(talk: Project, fleet: Any) -> None:
    """It does so if it reads an entry that journald is just writing. Here it always does."""
    server = talk.ps()["worker.2"]["server"]
    own = "/usr/local/sbin/journalctl"
    wrapper = '#!/bin/sh\ncase "$*" in *--follow*) /usr/bin/journalctl "$@" | grep --line-buffered -v "ready" ;;\n'
    fleet.exec(
        server,
        "sh",
        "-c",
        f"cat > {own} && chmod 755 {own}",
        input=f'{wrapper}*) exec /usr/bin/journalctl "$@" ;; esac\n',
    )
    try:
        with Following(talk, "-n", "0", "-d", "worker.2", "--json") as following:
            eventually(lambda: fleet.exec(server, "pgrep", "-f", "journalctl.*--follow", check=False).stdout)
            fleet.exec(server, "systemctl", "restart", "dyno-talk-worker-2.service")
            said: list[str] = []
            while not said or not said[-1].startswith("ready"):
                said.append(json.loads(following.lines.get(timeout=60))["message"])
            assert any(message.startswith("Started") for message in said)
            with pytest.raises(queue.Empty):
                following.lines.get(timeout=8)  # and only once
    finally:
        fleet.exec(server, "rm", own)
