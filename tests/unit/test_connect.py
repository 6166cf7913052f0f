"""Connecting: every failure is Unreachable with a text, and nothing of Fabric's own configuration is read."""

from __future__ import annotations

import binascii
import builtins
import copy
import errno
import inspect
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cryptography.exceptions
import fabric.exceptions
import invoke.exceptions
import paramiko.pkey
import paramiko.ssh_exception
import pytest

from infra.errors import Unreachable
from infra.model.target import Target
from infra.remote import bare_connection, dial, host_keys, identities, known_hosts, login, ssh_config
from infra.remote import connect as connecting
from infra.remote.connect import connect
from infra.remote.dial import MORE_FILES
from infra.remote.ssh_settings import Settings
from infra.remote.steady_socket import SteadySocket


def exceptions(*modules: ModuleType) -> Iterator[type[Exception]]:
    for module in modules:
        for _, kind in sorted(inspect.getmembers(module, inspect.isclass)):
            if issubclass(kind, Exception) and not issubclass(kind, Warning | StopIteration | StopAsyncIteration):
                yield kind


RAISED = list(
    dict.fromkeys(
        [
            *exceptions(paramiko.ssh_exception, fabric.exceptions, invoke.exceptions, cryptography.exceptions),
            *exceptions(builtins),
            paramiko.pkey.UnknownKeyType,
            socket.gaierror,
            socket.herror,
            struct.error,
            binascii.Error,
        ]
    )
)
"""All exceptions of Paramiko, Fabric, Invoke, cryptography and Python, such as those of the system."""


class Transport:
    """A connection to a server that shows a key and accepts every login."""

    sent_key = b"\0\0\0\x0bssh-ed25519\0\0\0\x01x"
    auth_handler = None
    ended = ""
    server_extensions: dict[str, bytes] = {}  # noqa: RUF012
    session_id = b"1"
    sock: Any = None

    def begin_login(self, seconds: float) -> None:
        pass

    def ask(self, *_: Any) -> str:
        return "success"

    def set_keepalive(self, _: int) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Target:
    """A server that can be connected to without a network."""
    listed = known_hosts.Entry(tmp_path / "known", 1, "", "*", "ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAAXg=")
    (tmp_path / "known").write_text(f"{listed.hosts} {listed.type} {listed.data}\n")
    (tmp_path / "config").write_text(f"Host *\n  UserKnownHostsFile {tmp_path}/known\n  IdentityFile none\n")

    def dialled(*_: Any) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.close()
        return ours

    def opened(client: Any, **options: Any) -> None:
        client._transport = Transport()
        client._transport.sock = options["sock"]
        client._transport.close = options["sock"].close
        client._policy.missing_host_key(client, "grid-1", None)
        options["auth_strategy"].authenticate(client._transport)

    monkeypatch.setattr(connecting, "dial", dialled)
    monkeypatch.setattr(paramiko.SSHClient, "connect", opened)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    return Target("grid-1", "127.0.0.1", "root", known_hosts=tmp_path / "known")


CALLS: dict[str, tuple[Any, str]] = {
    "ask OpenSSH": (ssh_config.subprocess, "Popen"),
    "read ssh_config": (connecting, "route"),
    "make a connection": (connecting, "bare"),
    "reach the port": (connecting, "dial"),
    "offer host keys": (host_keys.HostKeys, "algorithms"),
    "open the connection": (fabric.Connection, "open"),
    "exchange keys": (paramiko.SSHClient, "connect"),
    "read known_hosts": (known_hosts, "read"),
    "read the certificate": (host_keys, "parse"),
    "check the host key": (host_keys.HostKeys, "check"),
    "ask the agent": (login, "Agent"),
    "find keys": (login, "identities"),
    "begin the login": (Transport, "begin_login"),
    "log in": (Transport, "ask"),
    "keep the connection": (connecting, "notice_silence"),
}


OPEN_FILES = """
import os, resource, sys
soft, hard = map(int, sys.argv[1:3])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from infra.errors import Unreachable
from infra.model.target import Target
from infra.remote.connect import connect
from infra.remote.dial import MORE_FILES
from infra.remote.ssh_settings import Settings
import fabric
while True:
    try:
        last = os.dup(0)
    except OSError:
        break
for _ in range(int(sys.argv[3])):
    os.close(last)
    last -= 1
try:
    connect(Target("grid-1", "127.0.0.1", "root", 1))
except Unreachable as error:
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], error.summary, error.hint)
"""


@pytest.mark.parametrize(
    ("soft", "hard", "free", "said"),
    [
        (64, 200, 0, "200 cannot connect to grid-1 (127.0.0.1:1): connection refused"),
        *(
            (64, 64, free, f"64 cannot connect to grid-1 (127.0.0.1): too many open files {MORE_FILES}")
            for free in range(6)
        ),
    ],
)
def test_the_limit_of_open_files_is_raised_or_named(soft: int, hard: int, free: int, said: str) -> None:
    """At any point where it may be reached: a user is unknown, and a key unusable, if its file cannot be opened."""
    argv = [sys.executable, "-c", OPEN_FILES, str(soft), str(hard), str(free)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(said), done


def test_a_file_in_a_directory_that_cannot_be_searched_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "exists", denied)
    with pytest.raises(Unreachable, match=f"{tmp_path}/known: permission denied") as caught:
        connect(Target("grid-1", "127.0.0.1", known_hosts=tmp_path / "known"))
    assert caught.value.hint == "check ssh in dyno.yaml"


NO_FILES = OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize("call", ["getaddrinfo", "socketpair", "Popen"])
def test_whatever_cannot_be_opened_names_the_limit(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text("Host grid\n  HostName a.example\nHost proxy\n  ProxyCommand cat\n")

    def fail(*_: Any, **__: Any) -> Any:
        raise NO_FILES

    ssh_config.resolve(ssh_config.Question("proxy", config=tmp_path / "config"))
    monkeypatch.setattr(subprocess if call == "Popen" else socket, call, fail)
    host = "grid" if call == "getaddrinfo" else "proxy"
    with pytest.raises(Unreachable, match="too many open files") as caught:
        connect(Target("grid-1", host), tmp_path / "config")
    assert caught.value.hint == MORE_FILES


def test_a_key_that_cannot_be_opened_names_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise NO_FILES

    (tmp_path / "key").write_text("key")
    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(identities.Unusable, match="too many open files") as caught:
        identities.read(tmp_path / "key")
    assert caught.value.hint == MORE_FILES


def test_the_server_of_this_test_can_be_connected_to(server: Target, tmp_path: Path) -> None:
    connecting.close(connect(server, tmp_path / "config"))


@pytest.mark.parametrize("call", CALLS)
def test_every_exception_of_every_call_is_explained(
    call: str, server: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, name = CALLS[call]
    for number, kind in enumerate(RAISED):
        config = tmp_path / "config"
        if call == "ask OpenSSH":  # which is asked once for equal questions
            config = config.rename(tmp_path / f"config{number}")
            (tmp_path / "config").write_text(config.read_text())

        def fail(*_: Any, kind: type[Exception] = kind, **__: Any) -> Any:
            raise kind.__new__(kind)  # without its text, and perhaps not to be printed at all

        with monkeypatch.context() as patch:
            patch.setattr(place, name, fail)
            with pytest.raises(Unreachable) as caught:
                connect(server, config)
        error = caught.value
        assert error.summary.startswith("cannot connect to grid-1 (127.0.0.1"), kind
        assert error.summary.rpartition(": ")[2].strip(), kind
        assert error.hint and not error.silent, kind


@pytest.mark.parametrize(
    ("error", "silent", "text"),
    [
        (ConnectionRefusedError(111, "Connection refused"), False, "connection refused"),
        (OSError(113, "No route to host"), True, "no route to host"),
        (TimeoutError(), True, "timed out after 10 s"),
        (TimeoutError(110, "Connection timed out"), True, "connection timed out"),
        (PermissionError(13, "Permission denied"), False, "permission denied"),
    ],
)
def test_only_a_server_that_does_not_answer_is_silent(
    error: OSError, silent: bool, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(SteadySocket):
        def connect(self, address: Any) -> None:
            raise error

    (tmp_path / "config").write_text("")
    monkeypatch.setattr(dial, "SteadySocket", Failing)
    with pytest.raises(Unreachable) as caught:
        connect(Target("grid-1", "127.0.0.1"), tmp_path / "config")
    assert caught.value.silent == silent
    assert caught.value.summary == f"cannot connect to grid-1 (127.0.0.1:22): {text}"


def test_the_address_that_init_writes_is_called_an_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(SteadySocket):
        def connect(self, address: Any) -> None:
            raise OSError(113, "No route to host")

    (tmp_path / "config").write_text("")
    monkeypatch.setattr(dial, "SteadySocket", Failing)
    with pytest.raises(Unreachable) as caught:
        connect(Target("server-1", "192.0.2.11"), tmp_path / "config")
    assert caught.value.hint == "192.0.2.11 is an example address: write the address of your server in dyno.yaml"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 300, "a..b", "\udcff"])
def test_a_name_that_is_no_host(host: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("")
    with pytest.raises(Unreachable) as caught:
        connect(Target("grid-1", host), tmp_path / "config")
    assert not caught.value.silent and caught.value.hint


def test_nothing_of_fabric_is_read(server: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fabric would run fabric.py, and take a gateway, a user and a port from the others."""
    ran = tmp_path / "ran"
    text = "user: mallory\nport: 1\ngateway: mallory@127.0.0.1\nconnect_kwargs: {password: x}\nload_ssh_configs: true\n"
    for folder in (tmp_path / "home", tmp_path / "project"):
        folder.mkdir()
        for name in (".fabric", "fabric", ".invoke", "invoke"):
            (folder / f"{name}.yaml").write_text(text)
            (folder / f"{name}.json").write_text('{"user": "mallory"}')
            (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'w')\nuser = 'mallory'\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "project")
    for name in ("FABRIC_USER", "INVOKE_USER", "FABRIC_GATEWAY", "INVOKE_GATEWAY", "FABRIC_RUN_ECHO"):
        monkeypatch.setenv(name, "mallory")
    connection = connect(server, tmp_path / "config")
    assert not ran.exists()
    assert (connection.user, connection.port, connection.host) == ("root", 22, "127.0.0.1")
    assert connection.gateway is None and "password" not in connection.connect_kwargs
    connecting.close(connection)


def gateway_that(answer: Callable[[Any, int, str], None]) -> Any:
    """A gateway with a transport whose requests for a channel, with its number and its host, go to ``answer``."""

    class Gateway(login.transport()):  # type: ignore[misc]
        def _send_user_message(self, asked: paramiko.Message) -> None:
            asked.rewind()
            asked.get_byte()
            tunnel = asked.get_text() == "direct-tcpip"
            number, _, _ = asked.get_int(), asked.get_int(), asked.get_int()
            answer(self, number, asked.get_text() if tunnel else "")

    with socket.socket() as unused:
        gateway = Gateway(unused, offered=())
    gateway.active = True
    return SimpleNamespace(transport=gateway, host="gate", port=22)


def fail(gateway: Any, number: int, text: str) -> None:
    """Tell a gateway's transport that a channel was not opened."""
    message = paramiko.Message()
    message.add_int(number)
    message.add_int(2)
    message.add_string(text)
    message.rewind()
    gateway._parse_channel_open_failure(message)


def reached(via: Any, host: str, seconds: int = 5) -> tuple[str, bool]:
    """The error of a server behind a gateway, and whether it is silent."""
    hop = Settings(host, host, 22, "root")
    with pytest.raises(Unreachable) as caught, connecting._translated("failed", hop, via, seconds, True):
        connecting._tunnel(via, hop, seconds)
    return caught.value.summary, caught.value.silent


def test_a_server_behind_a_gateway_is_told_its_own_failure() -> None:
    """Both fail before either has read why: one that refuses must never be taken for one that is silent."""
    both, told, said = threading.Barrier(2, timeout=30), threading.Lock(), {}

    def answer(gateway: Any, number: int, host: str) -> None:
        both.wait()
        with told:
            fail(gateway, number, {"up": "Connection refused", "down": "No route to host"}[host])
        both.wait()

    via = gateway_that(answer)

    def reach(host: str) -> None:
        said[host] = reached(via, host)

    threads = [threading.Thread(target=reach, args=(host,)) for host in ("up", "down")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    through = "failed: through the gateway gate:22:"
    assert said == {
        "up": (f"{through} connection refused", False),
        "down": (f"{through} no route to host", True),
    }
    assert not via.transport.failures


@pytest.mark.parametrize("answers", [True, False])
def test_a_server_is_silent_only_if_its_gateway_is_not(*, answers: bool) -> None:
    def answer(gateway: Any, number: int, host: str) -> None:
        if answers and not host:
            fail(gateway, number, "no more sessions")

    assert reached(gateway_that(answer), "down", 1) == ("failed: timed out after 1 s", answers)


def test_all_connections_share_settings_that_nothing_changes() -> None:
    """Fabric merges them anew if anything is set on a connection, and the threads of other servers would find them
    empty meanwhile."""
    _, settings = bare_connection._fabric()
    before = copy.deepcopy(settings._config)
    for user in ("root", "deploy"):
        connection = bare_connection.bare("grid-1", user, 22, 5, {"auth_timeout": 5})
        connection.gateway, connection.transport = connection, None
        plain = fabric.Connection("grid-1", user=user, port=22, gateway=False, forward_agent=False)
        for name in ("host", "original_host", "user", "port", "forward_agent", "inline_ssh_env"):
            assert vars(connection)[name] == getattr(plain, name)
        assert connection.config is settings
    assert settings._config == before and not settings._modifications and not settings._deletions
