"""``dynoctl run`` on real servers: a terminal, pipes, signals; nothing is left, however it ends."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from infra.ops.sudoers import rule
from tests.lab.support import STARTERS, Project, eventually
from tests.lab.terminal import Terminal

ON = "grid-1"

LEFT = r"""
systemctl list-units --all --plain --no-legend 'dynoctl-run-*'
ls -d /run/dynoctl-run-* /run/systemd/transient/dynoctl-run-* /run/systemd/system/dynoctl-run-* 2>/dev/null
getent passwd | grep dynoctl-run
pgrep -af 'dynoctl-run'
:
"""


@pytest.fixture(scope="module")
def oneoff(tmp_path_factory: pytest.TempPathFactory, fleet: Any) -> Iterator[Project]:
    project = Project(
        tmp_path_factory.mktemp("oneoff"),
        fleet,
        "oneoff",
        STARTERS / "sinatra",
        framework={"name": "sinatra", "require": "./app", "app": "Shop"},
        env={"GREETING": 'a "b" $c %d', "TOKEN": {"from_env": "ONEOFF_TOKEN"}},
    )
    project.environment["ONEOFF_TOKEN"] = "s3cret-token"
    project.manifest["servers"] = project.manifest["servers"][:2]
    project.apply()
    del project.environment["ONEOFF_TOKEN"]  # what runs is there already: nobody needs its secrets here
    yield project
    project.environment["ONEOFF_TOKEN"] = "s3cret-token"
    project.destroy()


def left(fleet: Any, server: str = ON) -> str:
    """All that is on a server of any one-off dyno."""
    return str(fleet.exec(server, "sh", "-s", input=LEFT).stdout)


def gone(fleet: Any) -> None:
    """Wait until nothing is left. Twice both sides' patience: a client that is cut off says nothing."""
    eventually(lambda: not left(fleet), seconds=180)


@pytest.fixture
def terminal(oneoff: Project) -> Iterator[Any]:
    opened: list[Terminal] = []

    def start(*argv: str) -> Terminal:
        opened.append(Terminal(oneoff, "run", "-s", ON, *argv))
        return opened[-1]

    yield start
    for one in opened:
        one.kill()


def test_pipes_and_statuses(oneoff: Project, fleet: Any) -> None:
    """Its output and its errors apart, its status as it is, its words as data; in a dyno's sandbox."""
    done = oneoff.dynoctl("run", "sh", "-c", "echo out; echo err >&2; exit 7", code=7)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    data = "".join(f"{number} é\n" for number in range(40_000))
    assert oneoff.dynoctl("run", "--", "cat", stdin=data).stdout == data
    assert oneoff.dynoctl("run", "kill -s KILL $$", code=137).stdout == ""
    assert oneoff.dynoctl("run", "kill -s TERM $$", code=143).stdout == ""
    assert oneoff.dynoctl("run", "ruby", "-e", "'x' * (1 << 30)", code=137).stdout == ""  # out of memory
    words = ["$HOME", "%n", "a b", "", "*", "'\"", "x;y", "--help", "a\nb"]
    done = oneoff.dynoctl("run", "ruby", "-e", "p ARGV", "--", *words)
    assert done.stdout == '["$HOME", "%n", "a b", "", "*", "\'\\"", "x;y", "--help", "a\\nb"]\n'
    assert "no-such-program" in oneoff.dynoctl("run", "no-such-program", code=127).stderr
    said = oneoff.dynoctl(
        "run", 'echo "$GREETING|$TOKEN|$DYNO|$PORT|$RACK_ENV"; pwd; id -u; touch /app/x /etc/x; ls /etc/dyno', code=None
    )
    first, where, user = said.stdout.splitlines()[:3]
    assert first.startswith('a "b" $c %d|s3cret-token|run.') and first.endswith("||production")
    assert where == "/app" and int(user) > 60000
    assert said.stderr.count("Read-only file system") == 2
    assert "Permission denied" in said.stderr or "No such file" in said.stderr
    for server in fleet.names[:2]:
        assert left(fleet, server) == ""


def test_values_are_on_no_command_line(oneoff: Project, fleet: Any) -> None:
    secret = f"poison-{secrets.token_hex(8)}"
    process = oneoff.start("run", "-s", ON, "-e", f"API={secret}", "-e", "MINE", "sh", "-c", 'echo "$API$MINE"; read x')
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == f"{secret}{os.environ.get('MINE', '')}\n" if "MINE" in os.environ else True
    process.communicate("\n", timeout=60)
    process = oneoff.start("run", "-s", ON, "-e", f"API={secret}", "sh", "-c", 'echo "$API"; read x')
    assert process.stdout is not None
    assert process.stdout.readline() == f"{secret}\n"
    look = (
        f"grep -la -e {secret[:6]}'{secret[6:]}' /proc/[0-9]*/cmdline; find /run /etc /tmp -type f -print0 2>/dev/null | "
        f"xargs -0 grep -l -e {secret[:6]}'{secret[6:]}' 2>/dev/null; journalctl -q --namespace='*' --since=-1min | grep -c -e {secret[:6]}'{secret[6:]}'"
    )
    found = fleet.exec(ON, "sh", "-c", look, check=False).stdout.split()
    assert [one for one in found if one.startswith("/run/dynoctl-run-")] == found[:1], found
    assert fleet.exec(ON, "stat", "-c", "%a %U", found[0]).stdout == "600 root\n"
    assert found[1:] == ["0"], found
    process.communicate("\n", timeout=60)
    gone(fleet)


def test_what_cannot_be_is_said(oneoff: Project) -> None:
    assert "-e PORT cannot be set" in oneoff.dynoctl("run", "-e", "PORT=1", "true", code=1).stderr
    assert "-e LD_PRELOAD" in oneoff.dynoctl("run", "-e", "LD_PRELOAD=/x", "true", code=1).stderr
    assert "invalid variable name" in oneoff.dynoctl("run", "-e", "a b=1", "true", code=1).stderr
    assert "no such server: nowhere" in oneoff.dynoctl("run", "-s", "nowhere", "true", code=1).stderr
    assert "--ttl x" in oneoff.dynoctl("run", "--ttl", "x", "true", code=1).stderr


def test_a_terminal(oneoff: Project, fleet: Any, terminal: Any) -> None:
    one = terminal("sh", "-i")
    one.wait_for("Running on grid-1 as run.")
    one.wait_for("$ ")
    one.say('PS1="> "; test -t 0 -a -t 1 -a -t 2 && stty size && echo "$TERM"')
    one.wait_for("24 80\r\nxterm-256color\r\n> ")
    assert one.raw()
    one.resize(101, 33)
    os.kill(one.pid, signal.SIGWINCH)  # the helper's terminal is nobody's foreground

    one.say("while [ \"$(stty size)\" = '24 80' ]; do sleep 0.1; done; stty size")
    one.wait_for("\r\n33 101\r\n> ")  # with the prompt: what is typed before it is echoed where it happens to fall
    # By a process of the job: a shell that is interrupted just before it starts sleep only notices once that ends.
    one.say("sh -c 'echo go; exec sleep 100'")
    one.wait_for("\r\ngo\r\n")
    one.press("\x03")
    one.wait_for("^C\r\n> ")  # a terminal forgets what was typed before the signal was handled
    one.say("echo status $?")
    one.wait_for("status 130")
    one.say("exit 9")
    _, code = one.end()
    assert code == 9
    gone(fleet)


def test_the_terminal_is_put_back(oneoff: Project, fleet: Any, terminal: Any) -> None:
    one = terminal("sleep", "100")
    eventually(one.raw)
    os.kill(one.pid, signal.SIGTERM)
    eventually(lambda: not one.raw())
    assert one.end()[1] == 143
    gone(fleet)
    one = terminal("--no-tty", "test", "-t", "1")
    assert one.end()[1] == 1


def test_it_is_ended_before_its_tmp_is_mounted(oneoff: Project, fleet: Any, terminal: Any) -> None:
    slow = "cat > /usr/bin/mount && chmod 755 /usr/bin/mount"
    fleet.exec(ON, "mv", "/usr/bin/mount", "/usr/bin/mount.real")
    try:
        fleet.exec(ON, "sh", "-c", slow, input='#!/bin/sh\nsleep 2\nexec /usr/bin/mount.real "$@"\n')
        one = terminal("sleep", "100")
        eventually(one.raw)
        eventually(lambda: "run-dyno-oneoff-run." in fleet.exec(ON, "systemctl", "list-jobs", "--no-legend").stdout)
        os.kill(one.pid, signal.SIGTERM)
        assert one.end()[1] == 143
        gone(fleet)
        assert "failed" not in fleet.exec(ON, "systemctl", "list-units", "--all", "--no-legend", "run-dyno*").stdout
    finally:
        fleet.exec(ON, "mv", "/usr/bin/mount.real", "/usr/bin/mount")


def test_ctrl_c_without_a_terminal(oneoff: Project, fleet: Any) -> None:
    """It is the program's, which may do with it what it wants."""
    process = oneoff.start(
        "run", "-s", ON, "ruby", "-e", "trap('INT') { puts 'caught'; exit 3 }; puts 'up'; STDOUT.flush; sleep"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert (out, process.returncode) == ("caught\n", 3)


def test_a_killed_client_and_a_cut_cable(oneoff: Project, fleet: Any) -> None:
    for end in ("kill", "cut"):
        process = oneoff.start("run", "-s", ON, "sh", "-c", "trap '' HUP TERM; echo up; sleep 600")
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert "active" in left(fleet)
        if end == "kill":
            process.kill()
            process.communicate()
            gone(fleet)
            continue
        fleet.cut(ON)
        try:
            gone(fleet)
            _, said = process.communicate(timeout=60)
        finally:
            fleet.restore(ON)
        assert process.returncode == 4
        assert "no heartbeat" in said


def test_detached(oneoff: Project, fleet: Any) -> None:
    done = oneoff.dynoctl("run", "-s", ON, "--detach", "echo hello; sleep 600")
    name = done.stdout.strip()
    assert f"dynoctl logs --dyno {name}" in done.stderr
    eventually(lambda: "hello" in oneoff.dynoctl("logs", "-d", name, code=None).stdout)
    fleet.exec(ON, "systemctl", "stop", f"dynoctl-run-oneoff.{name.removeprefix('run.')}")
    gone(fleet)
    oneoff.dynoctl("run", "-s", ON, "--detach", "--ttl", "1s", "sleep", "600")
    gone(fleet)
    done = oneoff.dynoctl("run", "-s", ON, "--ttl", "1s", "sleep", "600", code=124)
    assert "(--ttl)" in done.stderr


def test_an_apply_meanwhile(oneoff: Project, fleet: Any) -> None:
    """The slug that it runs is not kept any more, and the last dyno leaves its server: it does not notice."""
    process = oneoff.start("run", "-s", ON, "sh", "-c", "echo up; read x; ls /app/app.rb")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    oneoff.environment["ONEOFF_TOKEN"] = "s3cret-token"
    (oneoff.source / "new.txt").write_text("new")
    oneoff.manifest["keep"] = 1
    oneoff.apply()
    kept = f"Note: kept on {ON} until run."
    text = oneoff.dynoctl("plan", "--detailed-exitcode").stdout
    assert kept in text and "No changes. The servers match dyno.yaml.\n" in text
    (server,) = (server for server in oneoff.manifest["servers"] if server["name"] == ON)
    server["drain"] = True
    oneoff.apply()
    assert kept in oneoff.dynoctl("plan").stdout
    assert f"is running on {ON}" in oneoff.dynoctl("destroy", "--auto-approve", code=1).stderr
    out, _ = process.communicate("\n", timeout=60)
    assert (out, process.returncode) == ("/app/app.rb\n", 0)
    gone(fleet)
    oneoff.apply()
    units = fleet.exec(
        ON, "systemctl", "list-units", "--all", "--plain", "--no-legend", "dyno-oneoff*", "dynoctl-run-oneoff*"
    )
    assert units.stdout == "" and "is draining: it has no dynos left" in oneoff.dynoctl("plan").stdout
    del server["drain"]
    for other in oneoff.manifest["servers"]:
        other["drain"] = other["name"] != ON  # a dyno is back on it
    oneoff.apply()
    for other in oneoff.manifest["servers"]:
        del other["drain"]
    assert oneoff.dynoctl("run", "ls", "/app/new.txt").stdout == "/app/new.txt\n"


@pytest.fixture
def narrow(fleet: Any, oneoff: Project) -> Iterator[None]:
    """The login ``deploy`` has what ``dynoctl sudoers`` prints, and nothing else."""
    text = oneoff.dynoctl("sudoers").stdout
    assert text == rule("deploy")
    for server in fleet.names[:2]:
        fleet.exec(
            server, "sh", "-c", "mv /etc/sudoers.d/deploy /root/ && cat > /etc/sudoers.d/dynoctl-deploy", input=text
        )
    ssh = oneoff.manifest["ssh"]
    oneoff.manifest["ssh"] = {**ssh, "user": "deploy"}
    yield
    oneoff.manifest["ssh"] = ssh
    for server in fleet.names[:2]:
        fleet.exec(server, "sh", "-c", "rm /etc/sudoers.d/dynoctl-deploy; mv /root/deploy /etc/sudoers.d/")


def test_the_smallest_sudo_rule(oneoff: Project, fleet: Any, terminal: Any, narrow: None) -> None:
    fleet.exec(ON, "chmod", "0440", "/etc/sudoers.d/dynoctl-deploy")
    checked = fleet.exec(ON, "visudo", "-c", "-f", "/etc/sudoers.d/dynoctl-deploy")
    assert "parsed OK" in checked.stdout
    refused = fleet.exec(ON, "runuser", "-u", "deploy", "--", "sudo", "-n", "id", check=False)
    assert refused.returncode != 0, "nothing but what dynoctl needs"
    oneoff.environment["ONEOFF_TOKEN"] = "s3cret-token"
    oneoff.manifest["env"]["MORE"] = "1"
    oneoff.apply()
    oneoff.settled()
    assert len(oneoff.ps()) == 2
    assert "MORE=1" in oneoff.dynoctl("run", "env").stdout
    one = terminal("stty", "size")
    text, code = one.end()
    assert code == 0 and "24 80" in text
    assert oneoff.dynoctl("logs", "-n", "5").stdout.count("\n") == 5
    gone(fleet)
