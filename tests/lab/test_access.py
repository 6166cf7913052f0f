"""How dynoctl gets in, and what a server must be: host keys, logins, locales, missing pieces."""

from __future__ import annotations

import os
import re
import signal
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.lab.support import APPS, Project, changed


@pytest.fixture
def app(tmp_path: Path, fleet: Any) -> Any:
    framework = {"name": "rack", "require": "./probe", "app": "Probe"}
    project = Project(tmp_path, fleet, "access", APPS / "probe", framework=framework)
    yield project
    project.manifest |= fleet.inventory()
    project.destroy()


def test_an_unknown_host_key_is_refused(app: Project, tmp_path: Path) -> None:
    (tmp_path / "nobody").write_text("")
    app.manifest["ssh"] = {**app.manifest["ssh"], "known_hosts": str(tmp_path / "nobody")}
    done = app.dynoctl("plan", code=4)
    assert done.stdout.count("unknown host key") == 3
    assert "ssh-keyscan" in done.stdout
    assert (tmp_path / "nobody").read_text() == "", "nothing is ever added"


def test_a_changed_host_key_is_refused(app: Project, fleet: Any, tmp_path: Path) -> None:
    lines = Path(fleet.known_hosts).read_text().splitlines()
    keys = [line.split(" ", 1)[1] for line in lines]
    swapped = [f"{line.split()[0]} {key}" for line, key in zip(lines, keys[1:] + keys[:1], strict=True)]
    (tmp_path / "swapped").write_text("\n".join(swapped) + "\n")
    app.manifest["ssh"] = {**app.manifest["ssh"], "known_hosts": str(tmp_path / "swapped")}
    done = app.dynoctl("plan", code=4)
    assert "host key verification failed" in done.stdout


def test_a_login_with_sudo(app: Project, fleet: Any) -> None:
    app.manifest["ssh"] = {**app.manifest["ssh"], "user": "deploy"}
    app.apply()
    assert len(app.ps()) == 2
    app.settled()
    # Without the right to become root, the plan says so.
    with changed(fleet, "grid-1", "mv /etc/sudoers.d/deploy /root/", "mv /root/deploy /etc/sudoers.d/"):
        done = app.dynoctl("plan", code=4)
        assert "grid-1: user deploy cannot become root without a password" in done.stdout
        assert "NOPASSWD" in done.stdout
        refused = app.dynoctl("plan", "--evacuate", "grid-1", code=1).stderr
        assert "cannot evacuate grid-1: it answers, so its dynos may be running" in refused and "--force" in refused


class _Forward(socketserver.BaseRequestHandler):
    """Joins a connection with one to sshd on a server."""

    def handle(self) -> None:
        with socket.create_connection((self.server.to, 22)) as other:  # type: ignore[attr-defined]
            back = threading.Thread(target=self._copy, args=(other, self.request), daemon=True)
            back.start()
            self._copy(self.request, other)
            back.join()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)


@contextmanager
def forwarded(address: str) -> Iterator[int]:
    """A port of this machine that leads to a server's sshd."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Forward) as server:
        server.to, server.daemon_threads = address, True  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_two_servers_behind_one_host(app: Project, fleet: Any, tmp_path: Path) -> None:
    keys = {line.split(" ")[0]: line.split(" ", 1)[1] for line in Path(fleet.known_hosts).read_text().splitlines()}
    addresses = [fleet.address("grid-1"), fleet.address("grid-2")]
    inventory = fleet.inventory()
    with forwarded(addresses[0]) as first, forwarded(addresses[1]) as second:
        known = [
            f"[127.0.0.1]:{port} {keys[address]}\n" for port, address in zip((first, second), addresses, strict=True)
        ]
        (tmp_path / "known").write_text("".join(known))
        app.manifest["ssh"] = {**inventory["ssh"], "known_hosts": str(tmp_path / "known")}
        one, two = ({"name": name, "host": "127.0.0.1", "port": port} for name, port in (("a", first), ("b", second)))
        app.manifest["servers"] = [one, two]
        app.apply()
        assert {row["server"] for row in app.ps().values()} == {"a", "b"}
        app.manifest["servers"] = [one, {**two, "port": 1}]
        refused = app.dynoctl("apply", "--auto-approve", code=1).stderr
        assert f"b is unreachable at 127.0.0.1:1, and still answers at 127.0.0.1:{second}" in refused
        app.manifest["servers"] = [one]
        app.apply()
        app.settled()
        assert {row["server"] for row in app.ps().values()} == {"a"}
        left = fleet.exec("grid-2", "sh", "-c", "ls -d /etc/systemd/system/dyno-access-* /var/lib/dynoctl/access; :")
        assert left.stdout == "", "it left, although its host did not"


def test_a_jump_host(app: Project, fleet: Any) -> None:
    app.manifest["servers"] = app.manifest["servers"][:1]
    app.manifest["ssh"]["gateway"] = f"root@{fleet.address('grid-3')}"
    app.apply()
    app.settled()
    seen = fleet.exec("grid-1", "sh", "-c", "journalctl -u ssh --no-pager | grep 'Accepted publickey' | tail -1").stdout
    assert f"from {fleet.address('grid-3')} " in seen


def test_ssh_config_and_the_agent(app: Project, fleet: Any, tmp_path: Path) -> None:
    # OpenSSH reads the file in the home directory of the user database, which is not ours to write. So "ssh" reads this.
    (tmp_path / "config").write_text(
        f"Host first\n  HostName {fleet.address('grid-1')}\n  User deploy\n"
        f"Host second\n  HostName {fleet.address('grid-2')}\n  User root\n  ProxyJump first\n"
        f"Host *\n  UserKnownHostsFile {fleet.known_hosts}\n"
    )
    app.manifest["servers"] = [{"name": "a", "host": "first"}, {"name": "b", "host": "second"}]
    del app.manifest["ssh"]
    agent = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
    socket, pid = re.findall(r"SSH_A\w+=([^;]+);", agent)
    (tmp_path / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {tmp_path}/config "$@"\n')
    (tmp_path / "ssh").chmod(0o755)
    app.environment |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SSH_AUTH_SOCK": socket}
    try:
        assert app.dynoctl("plan", code=4).stdout.count("authentication failed") == 2, "the agent holds no key yet"
        subprocess.run(["ssh-add", "-q", str(fleet.key)], env={**os.environ, "SSH_AUTH_SOCK": socket}, check=True)
        app.apply()
        app.settled()
        app.destroy()
    finally:
        os.kill(int(pid), signal.SIGTERM)


def test_a_hostile_locale_and_a_noisy_login_change_nothing(app: Project, fleet: Any) -> None:
    app.apply()
    noise = (
        'echo "Welcome to grid-2"; alias ls=false; export LC_ALL=tr_TR.UTF-8 LANGUAGE=de POSIXLY_CORRECT=1; '
        "export PATH=/nonexistent IFS=x"
    )
    do = (
        f"cp /root/.bashrc /root/.bashrc.kept; echo '{noise}' > /root/.bashrc; "
        "echo LANG=tr_TR.UTF-8 > /etc/default/locale"
    )
    undo = "mv /root/.bashrc.kept /root/.bashrc; rm /etc/default/locale"
    with changed(fleet, "grid-2", do, undo):
        app.settled()
        app.manifest["env"] = {"ILIKE": "Iıİi"}
        app.apply()
        app.settled()


@pytest.mark.parametrize(
    ("do", "undo", "says"),
    [
        ("mv /usr/bin/ruby /usr/bin/ruby.away", "mv /usr/bin/ruby.away /usr/bin/ruby", "grid-1: no MRI Ruby found"),
        (
            "mv /usr/bin/thin /usr/bin/thin.away",
            "mv /usr/bin/thin.away /usr/bin/thin",
            "grid-1: /usr/bin/thin not found",
        ),
        (
            "grep -v squashfs /proc/filesystems > /root/fs; mount --bind /root/fs /proc/filesystems",
            "umount /proc/filesystems; rm /root/fs",
            "grid-1: the kernel does not support squashfs",
        ),
        (
            'printf \'#!/bin/sh\\n[ "$1" = --version ] && echo systemd 241 && exit\\nexec /usr/bin/systemctl "$@"\\n\''
            " > /usr/local/bin/systemctl; chmod +x /usr/local/bin/systemctl",
            "rm /usr/local/bin/systemctl",
            "grid-1: systemd 241 is too old",
        ),
    ],
    ids=["no ruby", "no thin", "no squashfs", "old systemd"],
)
def test_a_server_that_lacks_something_gets_a_plan_error(
    app: Project, fleet: Any, do: str, undo: str, says: str
) -> None:
    with changed(fleet, "grid-1", do, undo):
        assert says in app.dynoctl("plan", code=1).stderr
        assert says in app.dynoctl("apply", "--auto-approve", code=1).stderr
    assert app.ps() == {}


def test_a_ruby_that_does_not_fit(app: Project) -> None:
    app.manifest["ruby"] = {"version": ">= 3.4"}
    done = app.dynoctl("plan", code=1)
    assert "does not satisfy ruby.version" in done.stderr
    assert ">= 3.4" in done.stderr


def test_one_machine_twice(app: Project, fleet: Any) -> None:
    first = fleet.address("grid-1")
    second = first.rpartition(".")[0] + ".250"
    keys = Path(fleet.known_hosts).read_text()
    app.manifest["servers"].append({"name": "twin", "host": second})
    (app.directory / "both").write_text(
        keys
        + "".join(
            line.replace(first, second, 1) for line in keys.splitlines(keepends=True) if line.startswith(f"{first} ")
        )
    )
    app.manifest["ssh"]["known_hosts"] = "both"
    with changed(fleet, "grid-1", f"ip address add {second}/24 dev host0", f"ip address del {second}/24 dev host0"):
        done = app.dynoctl("plan", code=1)
        assert "twin and grid-1 are the same machine" in done.stderr
    app.manifest["servers"].pop()


def test_somebody_elses_user_is_not_touched(app: Project, fleet: Any) -> None:
    with changed(fleet, "grid-1", "useradd -c 'a person' dyno-access-web-1", "userdel dyno-access-web-1"):
        done = app.dynoctl("plan", code=1)
        assert "grid-1/user.access-web.1 already exists and was not created by dynoctl" in done.stderr
        app.dynoctl("destroy", "--auto-approve")
        assert "a person" in fleet.exec("grid-1", "getent", "passwd", "dyno-access-web-1").stdout
