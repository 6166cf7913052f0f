"""A few sshd on the loopback, with keys, certificates and an agent that live as long as the tests that need them."""

from __future__ import annotations

import base64
import getpass
import hashlib
import hmac
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ME = getpass.getuser()
DEADLINE = 20
"""Seconds until a server must listen, on a busy machine."""

RELAY = """
import os, socket, sys, threading
there = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def up():
    while piece := os.read(0, 65536):
        there.sendall(piece)
    there.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while piece := there.recv(65536):
    os.write(1, piece)
"""
"""A ProxyCommand, as nc would be one."""


def program(name: str, package: str) -> str:
    """The path of a program. A missing one fails the tests instead of skipping them."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.fail(f"{name} not found: apt-get install {package}")
    return found


def keygen(*argv: str | Path) -> None:
    done = subprocess.run(
        [program("ssh-keygen", "openssh-client"), "-q", *map(str, argv)], stdin=subprocess.DEVNULL, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


@dataclass
class Yard:
    """A directory with everything that a case may name in its files."""

    path: Path
    ports: dict[str, int] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    """The public halves of keys: type and base64."""

    agents: dict[str, str] = field(default_factory=dict)

    def key(self, name: str, *options: str, kind: str = "ed25519", phrase: str = "") -> None:
        keygen("-t", kind, *options, "-N", phrase, "-C", name, "-f", self.path / name)
        self.keys[name] = " ".join((self.path / f"{name}.pub").read_text().split()[:2])

    def certify(self, authority: str, name: str, *options: str) -> None:
        """Write NAME-cert.pub."""
        keygen("-s", self.path / authority, "-I", name, *options, self.path / f"{name}.pub")

    def fill(self, text: str) -> str:
        """A case's text with the names of keys, ports, agents and the directory filled in."""
        values = {
            "me": ME,
            "dir": str(self.path),
            "python": sys.executable,
            "relay": f"{sys.executable} {self.path / 'relay.py'}",
            **{f"port_{name}": str(port) for name, port in self.ports.items()},
            **{f"key_{name}": key for name, key in self.keys.items()},
            **{f"agent_{name}": path for name, path in self.agents.items()},
        }
        for name in sorted(values, key=len, reverse=True):
            text = text.replace(f"<{name}>", values[name])
        return text

    def hashed(self, name: str, key: str) -> str:
        """A line of known_hosts with a hashed name."""
        salt = name.encode().ljust(20)[:20]
        digest = hmac.new(salt, name.encode(), "sha1").digest()
        return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()} {key}"

    def fingerprint(self, name: str) -> str:
        blob = base64.b64decode(self.keys[name].split()[1])
        return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def server(yard: Yard, name: str, host_keys: tuple[str, ...], *lines: str, port: int = 0) -> Iterator[int]:
    """An sshd on a port of 127.0.0.1, that trusts the keys in the file ``authorized``."""
    sshd = program("sshd", "openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port = yard.ports[name] = port or free_port()
    config = yard.path / f"{name}.sshd"
    config.write_text(
        yard.fill(
            "\n".join(
                [
                    *lines,
                    f"Port {port}",
                    "ListenAddress 127.0.0.1",
                    *(f"HostKey {yard.path}/{key}" for key in host_keys),
                    f"AuthorizedKeysFile {yard.path}/authorized",
                    f"PidFile {yard.path}/{name}.pid",
                    "StrictModes no",
                    "UsePAM no",
                    "PermitRootLogin yes",
                    "PasswordAuthentication no",
                    "KbdInteractiveAuthentication no",
                    *([] if any(line.startswith("MaxStartups") for line in lines) else ["MaxStartups 100"]),
                    "UseDNS no",
                    "",
                ]
            )
        )
    )
    process = subprocess.Popen([sshd, "-D", "-f", str(config), "-E", str(yard.path / f"{name}.log")])
    try:
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, (yard.path / f"{name}.log").read_text()
                assert time.monotonic() < deadline, "sshd does not listen"
                time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait()


def listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(path) == 0


@contextmanager
def agent(yard: Yard, name: str, *keys: str, options: tuple[str, ...] = ()) -> Iterator[str]:
    """An agent that holds ``keys``."""
    path = yard.agents[name] = str(yard.path / f"{name}.agent")
    process = subprocess.Popen(
        [program("ssh-agent", "openssh-client"), "-D", "-a", path], stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + DEADLINE
        while not listens(path):
            assert time.monotonic() < deadline, "ssh-agent does not listen"
            assert process.poll() is None
            time.sleep(0.01)
        ask = yard.path / "askpass"
        ask.write_text("#!/bin/sh\necho secret\n")
        ask.chmod(0o755)
        environment = {**os.environ, "SSH_AUTH_SOCK": path, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        files = [str(yard.path / key) for key in keys]
        done = subprocess.run(
            [program("ssh-add", "openssh-client"), "-q", *options, *files], env=environment, capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()
        yield path
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
