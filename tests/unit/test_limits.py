"""A server that sends without an end costs neither memory nor patience: every command ends, and says whose fault it is."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from infra.errors import DynoctlError
from infra.remote import limits
from tests.command import Dynoctl

MOST = 160
"""MiB that a command may take. It takes about 50 by itself, and an answer may have 16 before it is refused."""

FLOODS = {"line": b"y" * 32768, "lines": b"y\n" * 16384, "stderr": b"y\n" * 16384}


class Login(paramiko.ServerInterface):
    def __init__(self) -> None:
        self.started = threading.Event()

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.started.set()
        return True


class Server:
    """An SSH server on the loopback address that answers everything with a flood."""

    def __init__(self, key: paramiko.PKey, flood: str) -> None:
        self.key, self.flood = key, flood
        self.sockets = [socket.create_server(("127.0.0.1", 0))]
        self.port = self.sockets[0].getsockname()[1]
        self.sockets += [socket.create_server((f"127.0.0.{number}", self.port)) for number in (2, 3)]
        for one in self.sockets:
            threading.Thread(target=self._accept, args=(one,), daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client = listening.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self.flood == "banner":
                while True:
                    client.sendall(b"y" * 32768)
            if self.flood == "packet":
                client.sendall(b"SSH-2.0-flood\r\n" + b"\x7f\xff\xff\xf4" + b"y" * 100)
                while True:
                    client.sendall(b"y" * 32768)
            transport = paramiko.Transport(client)
            transport.add_server_key(self.key)
            transport.start_server(server=Login())
            while (channel := transport.accept(120)) is not None:
                threading.Thread(target=self._pour, args=(channel,), daemon=True).start()
        except (OSError, EOFError, paramiko.SSHException):
            pass
        finally:
            client.close()

    def _pour(self, channel: paramiko.Channel) -> None:
        try:
            if self.flood.startswith("journal"):
                self._journal(channel)
                return
            while True:
                if self.flood == "window":
                    channel.out_window_size = 1 << 30
                (channel.sendall_stderr if self.flood == "stderr" else channel.sendall)(
                    FLOODS.get(self.flood, b"y" * 32768)
                )
        except (OSError, EOFError):
            pass

    def _journal(self, channel: paramiko.Channel) -> None:
        """Answer as the script of ``dynoctl logs`` does, with as many lines as it is asked for."""
        script = b""
        while not (found := re.search(rb"\nready=([0-9a-f]{24})\n", script)):
            script += channel.recv(32768)
        nonce = found[1].decode()
        backwards = b"reverse=-r" in script
        self.sent = 0
        channel.sendall(f"{nonce}\nnow 1700000000.0\nunit dyno-shop-web-1\nentries\n".encode())
        for start in range(0, LINES, 1000):
            numbers = range(start, start + 1000)
            channel.sendall("".join(ENTRY % (LINES - n if backwards else n, n) for n in numbers).encode())
            self.sent += 1000
        channel.sendall(f"end 0\n\n{nonce} end\n".encode())


LINES = 60_000
"""So many take 40 MiB if they are kept."""

ENTRY = (
    '{"__CURSOR":"s=4f3e0dcd6b5b4d0b8a40d8d4ad7a7d4a;i=1a2b3c;b=0a2b2d0c9b5a4d5e8d3c6b1a0f9e8d7c;m=3f2a1b0c;t=5e8d7c6b",'
    '"__REALTIME_TIMESTAMP":"17000000%08d","_SYSTEMD_UNIT":"dyno-shop-web-1.service","_PID":"4711","PRIORITY":"6",'
    '"MESSAGE":"10.0.0.1 GET /products/%d HTTP/1.1 200 1234 bytes in 12 ms, from a cache that was warm"}\n'
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys")
    paramiko.ECDSAKey.generate().write_private_key_file(str(path / "host"))
    paramiko.ECDSAKey.generate().write_private_key_file(str(path / "id"))
    return path


@pytest.fixture
def project(tmp_path: Path, keys: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    host = paramiko.ECDSAKey.from_private_key_file(str(keys / "host"))
    server = Server(host, request.param)
    (tmp_path / "known_hosts").write_text(
        "".join(f"[127.0.0.{one}]:{server.port} {host.get_name()} {host.get_base64()}\n" for one in (1, 2, 3))
    )
    (tmp_path / "config.ru").write_text("run ->(env) { [200, {}, []] }\n")
    (tmp_path / "dyno.yaml").write_text(f"""\
version: 1
app: {{name: shop, source: .}}
rackup: config.ru
dynos: {{web: 1}}
servers: [{{name: grid-1, host: 127.0.0.1, port: {server.port}}}]
ssh: {{user: root, key: {keys}/id, known_hosts: {tmp_path}/known_hosts, connect_timeout: 5}}
""")
    yield tmp_path
    for one in server.sockets:
        one.close()


def measured(dynoctl: Dynoctl, project: Path, *argv: str) -> tuple[int, str, float]:
    """The exit code of a command, what it printed, and the most memory that it took, in MiB. (The maximum that wait4
    returns includes the memory of the process that forked.)"""
    status = project / "status"
    done = dynoctl(*argv, cwd=project, status=status)
    most = re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]
    return done.returncode, (done.stdout + done.stderr).decode(), int(most) / 1024


@pytest.mark.parametrize(
    ("project", "line", "says"),
    [
        ("line", "plan", "grid-1: observation: the output is larger than 16 MiB"),
        ("lines", "ps", "grid-1: observation: the output is larger than 16 MiB"),
        ("stderr", "apply --auto-approve", "grid-1: observation: the output is larger than 16 MiB"),
        ("line", "logs", "grid-1: the login shell: the output is larger than 64 KiB"),
        ("lines", "logs --since 1h", "grid-1: the login shell: the output is larger than 64 KiB"),
        ("stderr", "logs", "grid-1: errors of a script: the output is larger than 64 KiB"),
        ("lines", "top --once", "grid-1: the login shell: the output is larger than 64 KiB"),
        ("line", "lock status", "grid-1: sh -c: the output is larger than 16 MiB"),
        ("lines", "history", "grid-1: cat /var/lib/dynoctl/shop/audit.jsonl: the output is larger than 16 MiB"),
        ("stderr", "run true", "grid-1: the list of dynos: the output is larger than 16 MiB"),
        ("lines", "doctor", "checkup: the output is larger than 16 MiB"),
        ("lines", "releases", "the output is larger than 16 MiB"),
        ("window", "plan", "grid-1"),
        ("banner", "plan", "grid-1 (127.0.0.1"),
        ("packet", "plan", "grid-1 (127.0.0.1"),
    ],
    indirect=["project"],
)
def test_a_flood_ends_with_an_error(project: Path, dynoctl: Dynoctl, line: str, says: str) -> None:
    began = time.monotonic()
    code, said, memory = measured(dynoctl, project, *line.split())
    print(line, f"{time.monotonic() - began:.1f} s, {memory:.0f} MiB")
    assert says in said, said[-2000:]
    assert code in (1, 4) and "Traceback" not in said and "internal error" not in said
    assert memory < MOST


@pytest.mark.parametrize("project", ["journal"], indirect=True)
@pytest.mark.parametrize(("servers", "lines"), [(1, LINES), (3, LINES)])
def test_the_logs_are_streamed(project: Path, dynoctl: Dynoctl, servers: int, lines: int) -> None:
    manifest = (project / "dyno.yaml").read_text()
    row = re.findall(r"\{name: grid-1.*?\}", manifest)[0]
    rows = [row.replace("grid-1", f"grid-{number}").replace("127.0.0.1", f"127.0.0.{number}") for number in (1, 2, 3)]
    (project / "dyno.yaml").write_text(manifest.replace(row, ", ".join(rows[:servers])))
    began = time.monotonic()
    code, said, memory = measured(dynoctl, project, "logs", "-n", str(lines))
    print(f"{servers}: {time.monotonic() - began:.1f} s, {memory:.0f} MiB")
    assert code == 0 and said.count("\n") == lines, said[-500:]
    assert memory < 75


def test_the_last_lines_of_a_step_are_kept() -> None:
    tail = limits.Tail(1000)
    for number in range(10_000):
        tail.add(f"line {number}")
    assert tail.text().endswith("line 9998\nline 9999") and tail.text().startswith(
        "(0.1 MiB before this are left out)\n"
    )
    assert len(tail.text()) < 1000
    tail.clear()
    tail.add("x" * 5000)
    tail.add("")
    assert tail.text() == "(0.0 MiB before this are left out)\n" + "x" * 500 + "\n"


def test_the_error_names_server_and_command() -> None:
    error = limits.OutputTooLarge("grid-1", "observation", limits.OUTPUT)
    assert isinstance(error, DynoctlError) and error.exit_code == 1
    assert error.summary == "grid-1: observation: the output is larger than 16 MiB"


def test_a_tunnel_of_a_gateway_that_is_gone_is_closed_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread, which closes it, tells those who wait only after that; an exception would be a traceback."""
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    near, far = socket.socketpair()

    class Tunnel:
        closed = 0

        def __getattr__(self, name: str) -> object:
            return getattr(near, name)

        def close(self) -> None:
            Tunnel.closed += 1
            if Tunnel.closed == 1:  # a channel tells the other side once
                raise EOFError

    transport = limits.transport()(Tunnel())
    ended = threading.Event()
    transport.start_client(event=ended)
    far.close()
    assert ended.wait(10)
    transport.join(10)
    assert not transport.is_alive() and Tunnel.closed and not raised
    near.close()


def test_a_key_exchange_has_its_time_limit() -> None:
    near, far = socket.socketpair()
    transport = limits.transport()(near)
    packets = transport.packetizer
    assert not packets.handshake_timed_out()
    packets.start_handshake(0.01)
    time.sleep(0.02)
    assert packets.handshake_timed_out()
    packets.complete_handshake()
    assert not packets.handshake_timed_out(), "what comes after it has limits of its own"
    transport.handshake_timeout = 0.3
    far.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    ended = threading.Event()
    transport.start_client(event=ended)
    assert ended.wait(10), "it sends its version, and then nothing"
    transport.join(10)
    far.close()
