"""What a value is once it has arrived: in the environment of a dyno, in a command, in a request and in the router's log."""

from __future__ import annotations

import base64
import json
import random
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.manifest.variables import LARGEST, POINTER, TOTAL
from tests.lab.support import WAIT, Project, eventually

APP = """\
require "json"
App = lambda do |env|
  case env["PATH_INFO"]
  when "/env" then [200, {}, [JSON.generate(ENV.to_h { |name, value| [name, [value].pack("m0")] })]]
  when "/answer"
    sizes = env["QUERY_STRING"].split(",").map(&:to_i)
    [200, sizes.each_with_index.to_h { |size, at| ["x-large-#{at}", "a" * size] }, ["answered"]]
  else [200, {}, ["#{ENV["APP"]} #{env.select { |name, _| name =~ /X_LARGE/ }.values.sum(&:size)}"]]
  end
end
"""

WORDS = [
    "plain", "", " ", " padded ", "two words", "a\nb", "a\r\nb\r\n", "\n", "trailing\n", "\ttab\t", "#no comment", ";", "a=b",
    "=", '"', '"quoted"', "'", "''", "it's", "\\", "\\\\", "a\\", "\\n", "\\x41", "\\\n", '\\"', "$HOME", "${HOME}", "$$", "$(id)",
    "`id`", "%h", "%%", "%n", "~", "*", "!", "a,b", "[x]", "{a,b}", "<&>", "|", "é", "漢字", "\U0001f680", "\u2028", "\ufeffx",
    "\x01", "\x1b[2J", "\x7f", "x" * 100_000, '{"a": "b\\n"}', "-----BEGIN KEY-----\nAB/+=\n-----END KEY-----\n",
]  # fmt: skip
ALPHABET = "a1 \n\r\t\"'\\$`#;%=~é漢\x01"


def values() -> dict[str, str]:
    """The table, then random values, always the same, then as much as Linux allows."""
    chosen = random.Random(1)
    made = ["".join(chosen.choices(ALPHABET, k=chosen.randrange(40))) for _ in range(150)]
    found = {f"V{number}": word for number, word in enumerate([*WORDS, *made])}
    found["LONGEST"] = "x" * (LARGEST - len("LONGEST=") - 1)
    rest = TOTAL - 40_000 - sum(len(name) + len(value.encode()) + 2 + POINTER for name, value in found.items())
    return found | {f"FILL{number}": "y" * (rest // 13 - 20) for number in range(13)}


@pytest.fixture(scope="module")
def shop(fleet: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    directory = tmp_path_factory.mktemp("values")
    shop = made(directory, fleet, "values", "*.values.test", "bücher.test")
    (directory / "values").mkdir()
    for name, value in values().items():
        # What is read is secret, and replaced in all output: a space, too.
        shop.manifest["env"][name] = value if len(value) < 1000 else {"from_file": f"values/{name}"}
        (directory / "values" / name).write_bytes(value.encode() + b"\n")
    shop.manifest["dynos"]["worker"] = {
        "count": 1,
        "command": ["sh", "-c", 'echo "<$1|$2|$3>"; sleep 1000', "", "", "b", ""],
    }
    shop.apply()
    yield shop
    shop.destroy()


def made(directory: Path, fleet: Any, name: str, *hosts: str) -> Project:
    source = directory / "source"
    source.mkdir()
    (source / "app.rb").write_text(APP)
    framework = {"name": "rack", "require": "./app", "app": "App"}
    shop = Project(directory, fleet, name, source, framework=framework, app_server={"name": "puma"}, dynos={"web": 1})
    shop.manifest["servers"] = shop.manifest["servers"][:1]
    shop.manifest["env"] = {"APP": name}
    shop.manifest["router"] = {"kind": "nginx", "servers": ["grid-1"], "hosts": [*hosts], "listen": 8080}
    return shop


def test_every_value_arrives_as_it_is(shop: Project) -> None:
    row = shop.ps()["web.1"]
    found = {name: base64.b64decode(value) for name, value in json.loads(shop.get(row, "/env")).items()}
    wrong = {name: found.get(name, b"")[:80] for name, value in values().items() if found.get(name) != value.encode()}
    assert wrong == {}
    shop.settled()


def test_words_of_commands_arrive_as_they_are(shop: Project) -> None:
    eventually(lambda: "app[worker.1]: <|b|>" in shop.dynoctl("logs", "-d", "worker.1").stdout)
    script = 'print ARGV.inspect, ENV["BIG"].size, ENV["LONGEST"].size'
    most = LARGEST - len("BIG=") - 1
    shop.environment["BIG"] = "z" * most
    try:
        done = shop.dynoctl("run", "-e", "BIG", "--", "ruby", "-e", script, "", "a b", "", stdin="")
        assert done.stdout == f'["", "a b", ""]{most}{LARGEST - len("LONGEST=") - 1}'
    finally:
        del shop.environment["BIG"]


def exchange(address: str, host: str, path: str, *headers: str) -> tuple[int, str]:
    """The status and the body of one request, with as many and as large headers as it takes."""
    with socket.create_connection((address, 8080), WAIT) as peer:
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}:8080", "Connection: close", *headers, "", ""]
        peer.sendall("\r\n".join(lines).encode())
        answer = b""
        while piece := peer.recv(1 << 16):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def requests(shop: Project, *more: str) -> list[dict[str, str]]:
    """The lines of ``dynoctl logs -t router``, as fields."""
    rows = [json.loads(line) for line in shop.dynoctl("logs", "-t", "router", "--json", *more).stdout.splitlines()]
    assert all((row["dyno"], row["source"], row["server"]) == ("router", "dynoctl", "grid-1") for row in rows)
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    return [dict(field.split("=", 1) for field in row["message"].split(" ")) for row in rows]


@pytest.mark.parametrize("kind", ["nginx", "haproxy", "caddy"])
def test_a_request_and_its_line_in_the_log(shop: Project, fleet: Any, kind: str) -> None:
    shop.manifest["router"]["kind"] = kind
    shop.apply()
    address, host = fleet.address("grid-1"), "a.values.test"
    mark = f"{kind}-{random.getrandbits(40):x}"  # a lab that was kept has the lines of earlier runs
    quote = 200 if kind == "caddy" else 400  # Puma refuses it, and Caddy encodes it
    cases: list[tuple[int, str, tuple[str, ...]]] = [
        (200, f"/{mark}?secret=1", ()),
        (quote, f'/{mark}/"%22status=9', ()),
        (200, f"/{mark}/one", (f"X-Large: {'x' * (32 << 10)}",)),
        (200, f"/{mark}/many", tuple(f"X-Large-{number}: {'x' * 300}" for number in range(100))),
        (431, f"/{mark}/over", (f"X-Large: {'x' * (37 << 10)}",)),
        (431, f"/{mark}/over-many", tuple(f"X-Large-{number}: {'x' * 1000}" for number in range(60))),
        (200, f"/answer?{32 << 10},{31 << 10}", ()),
    ]
    for status, path, headers in cases:
        assert exchange(address, host, path, *headers)[0] == status, path
    assert exchange(address, "xn--bcher-kva.test", f"/{mark}/idn")[0] == 200
    for other in ("values.test", "a.b.values.test", "elsewhere.test"):
        assert exchange(address, other, f"/{mark}/nobody")[0] == 404
    for path in (f"/answer?{32 << 10},{40 << 10}", "/answer?200000"):
        assert exchange(address, host, path)[0] == 502, path

    # Go refuses headers that are too large before Caddy logs anything.
    refused = {} if kind == "caddy" else {"/over": "431", "/over-many": "431"}
    wanted = {
        "?secret=1": "200",
        "/%22%22status=9": str(quote),
        "/one": "200",
        "/many": "200",
        **refused,
        "/idn": "200",
    }

    def logged() -> list[dict[str, str]]:
        found = [line for line in requests(shop) if mark in line["path"]]
        return found if len(found) >= len(wanted) else []

    lines = {line["path"].strip('"').removeprefix(f"/{mark}"): line for line in eventually(logged)}
    assert {path: line["status"] for path, line in lines.items()} == wanted
    first = lines["?secret=1"]
    assert list(first) == ["method", "path", "host", "fwd", "dyno", "connect", "service", "status", "bytes", "protocol"]
    with socket.create_connection((address, 22), WAIT) as peer:
        assert first["fwd"] == f'"{peer.getsockname()[0]}"'
    fields = {"method": "GET", "host": host, "dyno": "web.1", "protocol": "http"}
    assert {name: first[name] for name in fields} == fields
    assert first["service"].endswith("ms") and int(first["bytes"]) > 0
    assert kind == "caddy" or first["connect"].endswith("ms")
    text = shop.dynoctl("logs", "-n", "1000").stdout
    assert f'dynoctl[router]: method=GET path="/{mark}?secret=1" host={host}' in text and "app[worker.1]: <" in text
    assert "router" not in shop.dynoctl("logs", "-t", "worker").stdout


def certificate(directory: Path, *names: str) -> dict[str, Any]:
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-days", "2", "-subj", f"/CN={names[0]}"]
    argv += ["-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)]
    argv += ["-keyout", str(directory / "tls.key"), "-out", str(directory / "tls.crt")]
    subprocess.run(argv, check=True, capture_output=True)
    return {"certificate": {"from_file": "tls.crt"}, "key": {"from_file": "tls.key"}}


def secure(address: str, name: str, trusted: Path) -> str:
    """The body of one request over TLS to the server that the certificate must name; "" if the handshake fails."""
    context = ssl.create_default_context(cafile=str(trusted))
    try:
        with (
            socket.create_connection((address, 8443), WAIT) as plain,
            context.wrap_socket(plain, server_hostname=name) as peer,
        ):
            peer.sendall(f"GET /tls HTTP/1.1\r\nHost: {name}:8443\r\nConnection: close\r\n\r\n".encode())
            return b"".join(iter(lambda: peer.recv(4096), b"")).decode().rpartition("\r\n\r\n")[2]
    except (ssl.SSLError, ConnectionError):
        return ""


@pytest.mark.parametrize(
    "kind", ["nginx", *(pytest.param(kind, marks=pytest.mark.soak) for kind in ("haproxy", "caddy"))]
)
def test_a_name_of_one_app_in_the_wildcard_of_another(shop: Project, fleet: Any, tmp_path: Path, kind: str) -> None:
    """The exact name wins, over TLS as well, and each app has its own requests in its log."""
    shop.manifest["router"] |= {"kind": kind, "listen": {"http": 8080, "https": 8443}}
    shop.manifest["router"]["tls"] = certificate(shop.directory, "*.values.test", "xn--bcher-kva.test")
    shop.apply()
    address, trusted = fleet.address("grid-1"), shop.directory / "tls.crt"
    blog = made(tmp_path, fleet, "blog", "exact.values.test")
    blog.manifest["router"] |= {"kind": kind, "listen": {"http": 8080, "https": 8443}}
    blog.manifest["router"]["tls"] = certificate(tmp_path, "exact.values.test")
    blog.apply()
    try:
        assert secure(address, "exact.values.test", tmp_path / "tls.crt").startswith("blog ")
        assert secure(address, "other.values.test", trusted).startswith("values ")
        assert secure(address, "xn--bcher-kva.test", trusted).startswith("values ")
        assert secure(address, "a.b.values.test", trusted) == ""
        assert exchange(address, "other.values.test", "/plain")[0] == 308

        def hosts(project: Project) -> set[str]:
            return {line["host"] for line in requests(project) if line["protocol"] == "https"}

        assert eventually(lambda: hosts(blog)) == {"exact.values.test"}
        assert eventually(lambda: found if len(found := hosts(shop)) > 1 else None) == {
            "other.values.test",
            "xn--bcher-kva.test",
        }
        assert eventually(lambda: [line for line in requests(shop) if line["status"] == "308"])
        blog.manifest["router"]["hosts"] = ["*.values.test"]
        assert "already routed to values: *.values.test" in blog.dynoctl("plan", code=1).stderr

        # The least that sudo can allow is enough to read it.
        rule = shop.dynoctl("sudoers", "--user", "deploy").stdout
        do = "mv /etc/sudoers.d/deploy /root/ && cat > /etc/sudoers.d/least"
        fleet.exec("grid-1", "sh", "-ec", do, input=rule)
        try:
            shop.manifest["ssh"]["user"] = "deploy"
            assert requests(shop)
        finally:
            shop.manifest["ssh"]["user"] = "root"
            fleet.exec("grid-1", "sh", "-ec", "rm /etc/sudoers.d/least; mv /root/deploy /etc/sudoers.d/")
    finally:
        blog.manifest["router"]["hosts"] = ["exact.values.test"]
        blog.destroy()
