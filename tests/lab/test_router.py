"""One address for all dynos: no request that may be sent twice fails, whatever is killed, and nothing else is touched."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from providers.routers.contract import FOREIGN, OWN
from tests.lab.load import Load
from tests.lab.support import WAIT, Project, eventually, get, snapshot

APP = """\
ASKED = {}
Words = Struct.new(:count, :token) do
  def each
    count.times do |number|
      yield "word #{number}\\n"
      sleep 0.02 until ASKED[token]
    end
  end
end
App = lambda do |env|
  headers = { "content-type" => "text/plain" }
  case env["PATH_INFO"]
  when "/up" then sleep 0.03; [200, headers, ["up"]]
  when "/lame" then sleep 0.5 if env["QUERY_STRING"] == ENV["DYNO"]; [200, headers, ["lame"]]
  when "/stream" then [200, headers, Words.new(3, env["QUERY_STRING"])]
  when "/go" then ASKED[env["QUERY_STRING"]] = true; [200, headers, ["gone on"]]
  when "/headers" then [200, headers, [env.select { |name, _| name =~ /\\AHTTP_/ }.to_s]]
  when "/accel" then [200, headers.merge("x-accel-redirect" => "/", "x-accel-buffering" => "yes"), ["accel"]]
  when "/hit" then $stdout.syswrite("hit #{env["QUERY_STRING"]}\\n"); [200, headers, ["hit"]]
  when "/silent"
    return [200, headers, [ENV["DYNO"]]] unless env["QUERY_STRING"] == ENV["DYNO"]
    env["rack.hijack"].call.close
    [-1, {}, []]
  when "/die" then $stdout.syswrite("hit #{env["QUERY_STRING"]}\\n"); Process.kill(:KILL, $$); sleep
  when "/slow" then $stdout.syswrite("hit #{env["QUERY_STRING"]}\\n"); sleep 7; [200, headers, ["slow"]]
  when "/socket"
    hijack = lambda do |io|
      io.write("HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n")
      io.write("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\\r\\n\\r\\n")  # for the sample key of RFC 6455
      3.times { io.write("<" + io.readpartial(100) + ">") }
      io.close
    end
    Thread.new { hijack.call(env["rack.hijack"].call) }
    [-1, {}, []]
  else [200, headers, ["#{ENV["APP"]} #{ENV["DYNO"]} #{ENV["WORD"]} #{env["REQUEST_METHOD"]}"]]
  end
end
"""

KINDS = ("nginx", "haproxy", "caddy")
CLIENTS = 4
ONE_AND_SOAK = [KINDS[0], *(pytest.param(kind, marks=pytest.mark.soak) for kind in KINDS[1:])]


def made(directory: Path, fleet: Any, name: str, **keys: Any) -> Project:
    source = directory / "source"
    source.mkdir(parents=True)
    (source / "app.rb").write_text(APP)
    framework = {"name": "rack", "require": "./app", "app": "App"}
    project = Project(directory, fleet, name, source, framework=framework, app_server={"name": "puma"})
    project.manifest |= {"env": {"WORD": "first", "APP": name}, **keys}
    return project


def around(fleet: Any, name: str) -> str:
    """All that could have been touched on a server, with what the programs' own services are configured with."""
    script = "find /etc/nginx /etc/haproxy /etc/caddy -type f | sort | xargs sha256sum; "
    script += "systemctl is-enabled nginx haproxy caddy; systemctl is-active nginx haproxy caddy"
    return snapshot(fleet, name) + str(fleet.exec(name, "sh", "-c", script, check=False).stdout)


@pytest.fixture(scope="module")
def shop(fleet: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Six dynos on three servers, and the router on the first of these: two of each server."""
    before = {name: around(fleet, name) for name in fleet.names[:3]}
    router = {"kind": "nginx", "servers": ["grid-1"], "listen": 8080, "timeout": 15}
    project = made(tmp_path_factory.mktemp("shop"), fleet, "routed", router=router, dynos={"web": 6})
    project.manifest["servers"] = project.manifest["servers"][:3]
    yield project
    project.destroy()
    for name, text in before.items():
        assert around(fleet, name) == text, "nothing of the router is left, and nothing else is gone"


def through(fleet: Any, server: str = "grid-1", port: int = 8080, clients: int = CLIENTS, path: str = "/up") -> Load:
    """A load on a router."""
    return Load([{"dyno": "router", "listen": fleet.address(server), "port": port}] * clients, path)


def is_named(shop: Project, dyno: str) -> bool:
    """Whether ``ps`` names a slow dyno, beside what the router's log tells of the others."""
    found = json.loads(shop.dynoctl("ps", "--json").stdout)
    rows = {row["dyno"]: row for row in found["dynos"]}
    assert rows.keys() == {f"web.{number}" for number in range(1, 7)}
    return (
        rows[dyno]["note"] == "slow"
        and rows[dyno]["median_ms"] >= 500
        and all(row["requests_per_second"] > 0 and row["failed"] == 0 for row in rows.values())
        and found["routes"][0]["requests_per_second"] == found["site"]["requests_per_second"]
        and found["site"]["state"] == "degraded"
    )


def going(load: Load, many: int) -> None:
    """Wait until so many more requests were answered."""
    until = load.count + many
    eventually(lambda: load.count > until, seconds=3 * WAIT)  # each client may meet a server that says nothing


def kill_dyno(fleet: Any, row: dict[str, Any]) -> None:
    unit = f"dyno-routed-{row['dyno'].replace('.', '-')}.service"
    fleet.exec(row["server"], "systemctl", "kill", "--kill-whom=all", "-s", "KILL", unit)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_fails_while_dynos_and_servers_die(
    shop: Project, fleet: Any, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.manifest["router"]["kind"] = kind
    shop.apply()
    rows = shop.ps()
    away = next(row["server"] for row in rows.values() if row["server"] != "grid-1")
    slow = f"web.{4 + KINDS.index(kind)}"  # another one with each kind, as a minute of the log is read
    with through(fleet, path=f"/lame?{slow}") as load:
        eventually(lambda: is_named(shop, slow))
        text = shop.dynoctl("ps").stdout
        assert f"  {slow} on {rows[slow]['server']} is slow: median 5" in text and f"dynoctl restart {slow}\n" in text
        assert f"  {slow} on {rows[slow]['server']} is slow" in shop.dynoctl("top", "--once", "--sort", "p95").stdout
        kill_dyno(fleet, rows["web.1"])
        going(load, 150)
    with through(fleet) as lost:
        going(lost, 20)
        fleet.cut(away)  # it says nothing any more, not even that it refuses, and some requests are under way there
        if kind == KINDS[0]:
            fleet.kill(away)
        going(lost, 120)  # both tries of a request may meet the two dynos there, and a further one must not
    fleet.restore(away) if kind != KINDS[0] else fleet.start(away)
    with capsys.disabled():
        print(f"\n{kind}: a dyno killed: {load}; a server killed: {lost}")
    assert load.failures == []
    # What was under way on a server that goes silent timed out, and is not sent again. HAProxy notices before, but a
    # machine that stalls for the router's timeout may cost a request.
    under_way = 1 if kind == "haproxy" else CLIENTS
    log = fleet.exec(
        "grid-1", "sh", "-c", "journalctl -o cat -t dynoctl_access -n 400 | grep -v 'status=.200' | tail -n 9"
    )
    assert len(lost.failures) <= under_way and set(lost.failures) <= {"router: 504", "router: 502"}, log.stdout
    eventually(lambda: all(row["state"] == "up" for row in shop.ps(code=None).values()))
    shop.settled()


@pytest.mark.parametrize("kind", ONE_AND_SOAK)
def test_a_deploy_and_a_scale_down(shop: Project, fleet: Any, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    shop.manifest["router"]["kind"] = kind
    shop.manifest["dynos"] = {"web": 4}
    shop.apply()
    with through(fleet) as load:
        shop.manifest["dynos"] = {"web": 2}
        shop.apply()
        scaled = load.count
        shop.manifest["env"]["WORD"] = f"of {kind}"
        shop.apply()
        going(load, 20)
    with capsys.disabled():
        print(f"\n{kind}: 4 -> 2 dynos ({scaled}), then a deploy with two: {load}")
    assert load.failures == []
    assert f"of {kind}" in get(fleet.address("grid-1"), 8080)


@pytest.mark.parametrize("kind", ONE_AND_SOAK)
def test_what_passes_and_maintenance(shop: Project, fleet: Any, kind: str) -> None:
    """Headers, a stream and a WebSocket; a client's own word on where it comes from is not believed."""
    shop.manifest["router"]["kind"] = kind
    shop.apply()
    address = fleet.address("grid-1")
    text = asked(address, "/headers")
    assert '"HTTP_X_FORWARDED_PROTO"=>"http"' in text
    assert f'"HTTP_X_FORWARDED_HOST"=>"{address}:8080"' in text
    assert '"HTTP_X_FORWARDED_PORT"=>"8080"' in text
    assert "HTTP_X_REQUEST_START" in text
    assert "6.6.6.6" not in text
    assert asked(address, "/accel") == "accel", "an app gives no orders to the router"
    assert "evil.test" not in asked(address, f"http://{address}:8080/headers", Host="evil.test")

    connection = http.client.HTTPConnection(address, 8080, timeout=60)
    rows = shop.ps().values()
    connection.request("GET", f"/stream?{kind}")
    stream = connection.getresponse()
    assert stream.read1(100) == b"word 0\n", "the first piece comes before the last is made"
    for row in rows:  # one of them made it, and waits for this word
        assert shop.get(row, f"/go?{kind}") == "gone on"
    assert b"word 2" in stream.read()
    connection.close()

    with socket.create_connection((address, 8080), WAIT) as peer:
        ask = f"GET /socket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        peer.sendall(f"{ask}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        said = b""
        while b"\r\n\r\n" not in said:
            said += peer.recv(1000)
        assert said.startswith(b"HTTP/1.1 101")
        for word in (b"one", b"two", b"three"):
            peer.sendall(word)
            assert peer.recv(100) == b"<" + word + b">"
    closed(shop, address, kind)


def asked(address: str, path: str, method: str = "GET", **headers: str) -> str:
    """One request with headers, and the body of its answer, or the status of a failure."""
    connection = http.client.HTTPConnection(address, 8080, timeout=WAIT)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        return body if answer.status == 200 else f"{answer.status}"
    finally:
        connection.close()


LIES = {
    name: "6.6.6.6"
    for header in (*OWN, *FOREIGN)
    for name in (header, header.replace("-", "_"), header.replace("-", "_", 1))
}


@pytest.mark.parametrize("kind", KINDS[::-1])
def test_where_a_request_comes_from(shop: Project, fleet: Any, kind: str) -> None:
    """No word of a client on that reaches an app; that of a trusted proxy does."""
    address = fleet.address("grid-1")
    with socket.create_connection((address, 22), WAIT) as peer:
        me = peer.getsockname()[0]
    shop.manifest["router"]["kind"] = kind
    shop.manifest["router"].pop("trusted_proxies", None)
    shop.apply()
    journal = fleet.exec("grid-1", "journalctl", "-q", "--no-pager", "-u", "dynoctl-router", "-o", "cat").stdout
    assert "(haproxy) with signal SIGKILL" not in journal, "before another program it ends at once"
    said = asked(address, "/headers", **LIES)
    assert "6.6.6.6" not in said
    assert f'"HTTP_X_FORWARDED_FOR"=>"{me}"' in said and '"HTTP_X_FORWARDED_PROTO"=>"http"' in said

    smuggles_nothing(shop, fleet, address, kind)

    shop.manifest["router"]["trusted_proxies"] = [me]
    shop.apply()
    try:
        lies = {name: value for name, value in LIES.items() if name.lower() not in {own.lower() for own in OWN}}
        balancer = {"X-Forwarded-For": "6.6.6.6, 203.0.113.9", "X-Forwarded-Proto": "https"}
        said = asked(address, "/headers", **(lies | balancer | {"X-Forwarded-Host": "shop.test"}))
        for name, value in (("FOR", "203.0.113.9"), ("PROTO", "https"), ("HOST", "shop.test"), ("PORT", "443")):
            assert f'"HTTP_X_FORWARDED_{name}"=>"{value}"' in said, said
        assert said.count("6.6.6.6") == 0
        said = asked(address, "/headers", **(balancer | {"X-Forwarded-For": f"6.6.6.6, 203.0.113.9, {me}, {me}"}))
        assert '"HTTP_X_FORWARDED_FOR"=>"203.0.113.9"' in said
        # A balancer may add a header of its own below the client's, in place of an address at the end of that.
        lines = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", f"203.0.113.9, {me}")]
        assert '"HTTP_X_FORWARDED_FOR"=>"203.0.113.9"' in raw(address, request("/headers", *lines))
        said = asked(address, "/headers")
        assert f'"HTTP_X_FORWARDED_FOR"=>"{me}"' in said and '"HTTP_X_FORWARDED_PORT"=>"8080"' in said
    finally:
        del shop.manifest["router"]["trusted_proxies"]


def request(path: str, *headers: tuple[str, str], method: str = "GET", version: str = "1.1", body: str = "") -> bytes:
    """A request as bytes, with the headers as they are given; the connection is closed after it."""
    lines = [f"{method} {path} HTTP/{version}", *(f"{name}: {value}" for name, value in headers)]
    if not any(name.lower().strip() == "host" for name, _ in headers):
        lines.insert(1, "Host: routed.test")
    return ("\r\n".join([*lines, "Connection: close"]) + f"\r\n\r\n{body}").encode("latin-1")


def raw(address: str, data: bytes, port: int = 8080) -> str:
    """All that comes back for these bytes until the connection is closed."""
    with socket.create_connection((address, port), WAIT) as peer:
        peer.sendall(data)
        peer.settimeout(WAIT)
        said = b""
        with suppress(ConnectionError, TimeoutError):
            while piece := peer.recv(65536):
                said += piece
        return said.decode("latin-1")


CHUNKED = ("Transfer-Encoding", "chunked")

REFUSED = ("400", "411", "501", "none")
"""A router answers so, or closes the connection."""

BY_CHUNKS: dict[str, tuple[str, ...]] = {"haproxy": ("200",), "caddy": ("200",)}
"""nginx refuses both together. The others take the chunks, and remove the length: RFC 9112, 6.3."""

UNFOLDED = {"haproxy": ("200",), "caddy": ("200",)}
"""The lines are one header, whose value has a space there."""

CUT_OFF = {"caddy": ("502",)}
"""It has connected to the dyno when it reads the body."""

SMUGGLING: dict[str, tuple[list[tuple[str, str]], str, dict[str, tuple[str, ...]]]] = {
    # The headers, the body, and what each router answers. HIDDEN is a request that must not be one.
    "length and chunks": ([("Content-Length", "LENGTH"), CHUNKED], "0\r\n\r\nHIDDEN", BY_CHUNKS),
    "chunks and length": ([CHUNKED, ("Content-Length", "4")], "0\r\n\r\nHIDDEN", BY_CHUNKS),
    "two lengths": ([("Content-Length", "0"), ("Content-Length", "LENGTH")], "HIDDEN", {}),
    "a list of lengths": ([("Content-Length", "0, LENGTH")], "HIDDEN", {}),
    "a signed length": ([("Content-Length", "+5")], "HIDDEN", {}),
    "a length of hexadecimal digits": ([("Content-Length", "0x5")], "HIDDEN", {}),
    "a negative length": ([("Content-Length", "-1")], "HIDDEN", {}),
    "a huge length": ([("Content-Length", "9" * 40)], "HIDDEN", {}),
    "an unknown coding": ([("Transfer-Encoding", "xchunked")], "HIDDEN", {}),
    "chunks that are not last": ([("Transfer-Encoding", "chunked, identity")], "HIDDEN", {}),
    "two codings": ([CHUNKED, ("Transfer-Encoding", "identity")], "0\r\n\r\nHIDDEN", {}),
    "a coding with a vertical tab": ([("Transfer-Encoding", "\vchunked")], "0\r\n\r\nHIDDEN", {}),
    "a space before the colon": ([("Transfer-Encoding ", "chunked"), ("Content-Length", "0")], "HIDDEN", {}),
    "a folded header": ([("X-A", "b\r\n Transfer-Encoding: chunked"), ("Content-Length", "0")], "HIDDEN", UNFOLDED),
    "a bare carriage return": ([("X-A", "b\rContent-Length: 0")], "HIDDEN", {}),
    "a NUL in a header": ([("X-A", "b\0c"), ("Content-Length", "0")], "HIDDEN", {}),
    "a chunk of a wrong size": ([CHUNKED], "xyz\r\nHIDDEN", CUT_OFF),
    "a chunk of a huge size": ([CHUNKED], f"{'f' * 20}\r\nHIDDEN", CUT_OFF),
    "two hosts": ([("Host", "routed.test"), ("Host", "blog.test")], "", {}),
    "a host with a space": ([("Host", "routed.test blog.test")], "", {}),
}


def smuggles_nothing(shop: Project, fleet: Any, address: str, kind: str) -> None:
    """No request hides in the body or behind a header of another one."""
    word = secrets.token_hex(8)
    hidden = f"GET /hit?{word} HTTP/1.1\r\nHost: routed.test\r\n\r\n"
    answers = {}
    for name, (headers, body, _) in SMUGGLING.items():
        filled = [(key, value.replace("LENGTH", str(len(hidden)))) for key, value in headers]
        said = raw(address, request("/up", *filled, method="POST", body=body.replace("HIDDEN", hidden)))
        answers[name] = "+".join(re.findall(r"^HTTP/1\.[01] (\d+)", said, re.M)) or "none"
    assert hits(fleet, word) == 0, answers
    wrong = {name: answer for name, answer in answers.items() if answer not in SMUGGLING[name][2].get(kind, REFUSED)}
    assert wrong == {}, kind


def hits(fleet: Any, word: str) -> int:
    script = "for file in /etc/systemd/journald@dyno-*.conf; do file=${file#*@}; journalctl --namespace=${file%.conf} --sync; done; "
    script += f"journalctl -q --no-pager --namespace='*' -o cat | grep -c '^hit {word}$'"
    return sum(int(fleet.exec(name, "sh", "-c", script, check=False).stdout) for name in fleet.names)


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_request_may_break(shop: Project, fleet: Any, kind: str) -> None:
    """A request that kills its dyno kills two at most, one if it may not be repeated, and a slow one runs once. What
    was not killed goes on."""
    address = fleet.address("grid-1")
    shop.manifest["router"]["kind"] = kind
    shop.manifest["router"]["timeout"] = 5
    shop.manifest["dynos"] = {"web": 4}
    shop.apply()
    for method, most in (("GET", 2), ("POST", 1)):
        word = secrets.token_hex(8)
        # Caddy may try the same dyno again, and that may take longer to come back than an answer may take.
        assert asked(address, f"/die?{word}", method) in ("502", "504" if kind == "caddy" else "502")
        assert 1 <= hits(fleet, word) <= most
        eventually(lambda: "routed web" in get(address, 8080))
    eventually(lambda: served(fleet, "grid-1") == {"web.1", "web.2", "web.3", "web.4"})
    leaves_no_dyno_out(fleet, address)
    word = secrets.token_hex(8)
    assert asked(address, f"/slow?{word}") == "504"
    assert hits(fleet, word) == 1
    shop.manifest["router"]["timeout"] = 15


def leaves_no_dyno_out(fleet: Any, address: str) -> None:
    """One that closes four connections without an answer, at once, gets its next requests nevertheless."""
    failed = 0
    for _ in range(200):
        failed += asked(address, "/silent?web.2", "POST") == "502"
        if failed == 4:
            break
    assert failed == 4
    assert "web.2" in served(fleet, "grid-1")


def closed(shop: Project, address: str, kind: str) -> None:
    """The page, and nothing but the page, until it is taken away."""
    page = shop.directory / "page.html"
    page.write_text("<h1>Wir räumen auf</h1>")
    shop.dynoctl("maintenance", "on", "--page", "page.html")
    for path in ("/anything", "/page.html"):
        assert get(address, 8080, path) == "503 <h1>Wir räumen auf</h1>"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{address}:8080/", data=b"a=b", timeout=60)
    refused.value.close()
    assert refused.value.code == 503
    assert refused.value.headers["Retry-After"] == "120"
    assert refused.value.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Maintenance mode is on (grid-1)" in shop.dynoctl("ps").stdout
    if kind == KINDS[0]:
        shop.manifest["env"]["WORD"] = "changed meanwhile"
        assert "Note: maintenance mode is on (grid-1)" in shop.apply().stdout
        assert get(address, 8080).startswith("503"), "an apply does not end it"
        assert "meanwhile" in shop.get(shop.ps()["web.1"]), "the dynos go on"
    shop.dynoctl("maintenance", "off")
    assert "routed web" in get(address, 8080)
    assert json.loads(shop.dynoctl("ps", "--json").stdout)["maintenance"] == []


def certificate(directory: Path, name: str) -> None:
    """A key and a certificate that it signed itself."""
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    argv += ["-keyout", str(directory / f"{name}.key"), "-out", str(directory / f"{name}.crt")]
    subprocess.run(argv, check=True, capture_output=True)


def secure(address: str, port: int, name: str, trusted: Path) -> str:
    """One request over TLS; the server must be the one that the certificate names."""
    context = ssl.create_default_context(cafile=str(trusted))
    with (
        socket.create_connection((address, port), WAIT) as plain,
        context.wrap_socket(plain, server_hostname=name) as peer,
    ):
        peer.sendall(f"GET /headers HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: peer.recv(4096), b"")).decode()


def certificate_for(address: str, port: int, name: str) -> bytes:
    """The certificate that whoever asks for a name is shown; nothing where the handshake is refused."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address, port), WAIT) as plain,
            context.wrap_socket(plain, server_hostname=name) as peer,
        ):
            return peer.getpeercert(binary_form=True) or b""
    except (ssl.SSLError, ConnectionError):
        return b""


def named(address: str, host: str, port: int = 8080) -> str:
    connection = http.client.HTTPConnection(address, port, timeout=60)
    try:
        connection.request("GET", "/", headers={"Host": host})
        answer = connection.getresponse()
        return f"{answer.status} {answer.headers.get('Location', '')} {answer.read().decode()}"
    finally:
        connection.close()


NOBODY = ("400", "404", "none")

HOSTS = {
    **dict.fromkeys(
        ("blog.test", "BLOG.Test", "blog.test:8080", "blog.test:1", "blog.test.", "blog.test.:80"), ("blog",)
    ),
    **dict.fromkeys(("xblog.test", "blog.test.evil", "test", "blog_test", "127.0.0.1", "[::1]:8080"), ("routed",)),
    # A router may refuse these, or take them for some other name, but not for the blog's.
    **dict.fromkeys(
        ("", "blog.test blog.test", "x@blog.test", "blog.test/", "x,blog.test", "blog.test\0"), ("routed", *NOBODY)
    ),
}
"""Which app answers for a Host header. That without hosts has all that are not the blog's."""

ABSOLUTE = [
    ("http://blog.test/", "blog.test", ("blog",)),
    ("http://blog.test:8080/", "elsewhere.test", ("blog", *NOBODY)),
    ("http://elsewhere.test/", "blog.test", ("routed", *NOBODY)),
    ("http://blog.test@elsewhere.test/", "elsewhere.test", ("routed", *NOBODY)),
    ("/http://blog.test/", "elsewhere.test", ("routed",)),
    ("//blog.test/", "elsewhere.test", ("routed",)),
]
"""A whole URL in the first line of a request wins over the Host header (RFC 9112, 3.2.2), or both are refused."""


def answered(address: str, headers: list[tuple[str, str]], line: str = "/") -> str:
    """The app that answered, or the status of a refusal. The blog redirects to HTTPS."""
    said = raw(address, request(line, *headers))
    status = said[9:12] or "none"
    if status == "308":
        return "blog"
    return "routed" if "routed web" in said else status


@pytest.mark.parametrize("kind", ONE_AND_SOAK)
def test_two_apps_a_certificate_and_a_broken_one(shop: Project, fleet: Any, tmp_path: Path, kind: str) -> None:
    shop.manifest["router"]["kind"] = kind
    shop.apply()
    address = fleet.address("grid-1")
    certificate(tmp_path, "blog.test")
    certificate(tmp_path, "other.test")
    tls = {"certificate": {"from_file": "blog.test.crt"}, "key": {"from_file": "blog.test.key"}}
    wrong = next(one for one in KINDS if one != kind)
    router = {"kind": wrong, "servers": ["grid-1"], "hosts": ["blog.test"], "tls": tls}
    router["listen"] = {"http": 8080, "https": 8443}
    blog = made(tmp_path, fleet, "blog", router=router, dynos={"web": 1})
    blog.manifest["servers"] = blog.manifest["servers"][:1]
    try:
        done = blog.dynoctl("plan", code=1)
        assert f"grid-1: the router is already {kind}, for routed" in done.stderr
        router["kind"] = kind
        done = blog.apply()
        key = (tmp_path / "blog.test.key").read_text().splitlines()[1]
        assert key not in done.stdout + done.stderr
        text = secure(address, 8443, "blog.test", tmp_path / "blog.test.crt")
        assert '"HTTP_X_FORWARDED_PROTO"=>"https"' in text
        assert named(address, "blog.test:8080").startswith("308 https://blog.test:8443/")
        assert "routed web" in named(address, "elsewhere.test"), "the app without hosts has all others"
        wrong = {}
        for host, app in HOSTS.items():
            if kind == "caddy" and host.partition(":")[0].endswith("."):
                app = ("routed",)  # for Caddy it is another name
            if (told := answered(address, [("Host", host)])) not in app:
                wrong[host] = told
        for line, host, app in ABSOLUTE:
            if (told := answered(address, [("Host", host)], line)) not in app:
                wrong[f"{line} {host}"] = told
        assert wrong == {}, kind
        modes = fleet.exec(
            "grid-1", "sh", "-c", "stat -Lc '%a %U %G' /etc/dynoctl/router/live/apps/blog/tls.key"
        ).stdout
        assert modes == "640 root dynoctl-router\n"

        # A key that is not the certificate's: the test says so, and nothing has changed for anybody.
        tls["key"] = {"from_file": "other.test.key"}
        done = blog.apply(code=1)
        assert f"{kind} rejected the configuration, so nothing was changed" in done.stdout
        assert '"https"' in secure(address, 8443, "blog.test", tmp_path / "blog.test.crt")
        assert "routed web" in named(address, "elsewhere.test")
        tls["key"] = {"from_file": "blog.test.key"}
        blog.settled()
        shop.settled()

        # With hosts of its own and no TLS beside one that has it, nobody is the default: 404, and no certificate.
        shop.manifest["router"]["hosts"] = ["shop.test"]
        shop.apply()
        assert "routed web" in named(address, "shop.test")
        assert named(address, "elsewhere.test").startswith("404")
        assert '"https"' in secure(address, 8443, "blog.test", tmp_path / "blog.test.crt")
        assert certificate_for(address, 8443, "blog.test")
        assert not certificate_for(address, 8443, "elsewhere.test"), "not somebody else's"
        del shop.manifest["router"]["hosts"]
        shop.apply()

        # One app's maintenance is not another's; what somebody edits is seen and put right.
        blog.dynoctl("maintenance", "on")
        assert "503" in secure(address, 8443, "blog.test", tmp_path / "blog.test.crt").split("\r\n")[0]
        assert "routed web" in named(address, "elsewhere.test")
        fleet.exec("grid-1", "sh", "-c", "for f in /etc/dynoctl/router/live/*[fe]*; do echo '# x' >> $f; done")
        assert 'state: "edited" -> "running"' in shop.dynoctl("plan").stdout
        shop.apply()
    finally:
        blog.destroy()
    assert "routed web" in named(address, "blog.test"), "the other app goes on, and has the name now"
    shop.settled()


def served(fleet: Any, server: str) -> set[str]:
    """The dynos that answered some requests through the router of a server."""
    return {get(fleet.address(server), 8080).split()[1] for _ in range(60)}


def test_two_routers(shop: Project, fleet: Any) -> None:
    """Each leads to every dyno; one that dies takes nothing along; a part of a plan leads nowhere wrong."""
    shop.manifest["router"] |= {"kind": KINDS[0], "servers": ["grid-1", "grid-2"]}
    shop.manifest["dynos"] = {"web": 4}
    shop.apply()
    shop.settled()
    everybody = set(shop.ps())
    assert served(fleet, "grid-1") == served(fleet, "grid-2") == everybody

    shop.manifest["dynos"] = {"web": 6}
    shop.dynoctl("apply", "--auto-approve", "--target", "web.5")
    assert served(fleet, "grid-1") == served(fleet, "grid-2") == everybody | {"web.5"} == set(shop.ps())
    shop.manifest["dynos"] = {"web": 4}
    shop.apply()
    shop.settled()
    assert served(fleet, "grid-2") == everybody

    shop.dynoctl("maintenance", "on")
    assert all(get(fleet.address(one), 8080).startswith("503") for one in ("grid-1", "grid-2"))
    shop.dynoctl("maintenance", "off")

    # One that was taken out of the file serves until that is applied.
    servers = shop.manifest["servers"]
    shop.manifest["servers"] = [one for one in servers if one["name"] != "grid-2"]
    shop.manifest["router"]["servers"] = ["grid-1"]
    shop.dynoctl("maintenance", "on")
    assert all(get(fleet.address(one), 8080).startswith("503") for one in ("grid-1", "grid-2"))
    shop.dynoctl("maintenance", "off")
    shop.manifest["servers"], shop.manifest["router"]["servers"] = servers, ["grid-1", "grid-2"]
    assert served(fleet, "grid-2") == everybody
    with through(fleet, "grid-2") as load:
        going(load, 20)
        fleet.cut("grid-1")
        going(load, 100)
    fleet.restore("grid-1")
    # What a server had got before it fell silent is not asked of another one.
    assert load.failures in ([], *(["router: 504"] * lost for lost in range(1, CLIENTS + 1)))

    # A router that is stopped, or that another file overrides, is said and repaired.
    fleet.exec("grid-1", "systemctl", "disable", "-q", "--now", "dynoctl-router")
    assert "The router on grid-1 is stopped. To repair it: dynoctl apply" in shop.dynoctl("ps").stdout
    assert json.loads(shop.dynoctl("ps", "--json").stdout)["routers"] == {"grid-1": "stopped"}
    assert "The router on grid-1 is stopped. To repair it: dynoctl apply" in shop.dynoctl("top", "--once").stdout
    assert "failed   router    stopped" in shop.dynoctl("doctor", code=1).stdout
    assert 'state: "stopped" -> "running"' in shop.dynoctl("plan").stdout
    shop.apply()
    fleet.exec("grid-1", "systemctl", "disable", "-q", "dynoctl-router")
    drop = "mkdir -p /run/systemd/system/dynoctl-.service.d; cd /run/systemd/system/dynoctl-.service.d"
    fleet.exec("grid-1", "sh", "-c", f"{drop}; printf '[Service]\\nNoNewPrivileges=no\\n' > x.conf")
    text = shop.dynoctl("plan").stdout
    assert 'state: "disabled" -> "running"' in text and "dynoctl-.service.d/x.conf" in text
    shop.apply()
    shop.settled()
    fleet.exec("grid-1", "rm", "-r", "/run/systemd/system/dynoctl-.service.d")

    shop.manifest["router"]["servers"] = ["grid-1"]
    shop.apply()
    shop.settled()
    assert served(fleet, "grid-1") == everybody
    with pytest.raises(OSError, match="refused"):
        get(fleet.address("grid-2"), 8080)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_a_bare_server_that_only_routes(fleet: Any, tmp_path: Path, kind: str) -> None:
    """No Ruby, no dynos: the package comes, and its own service neither starts nor would at the next boot."""
    (name,) = fleet.need_bare(1)
    fleet.exec(name, "sh", "-c", f"apt-get purge -y -q {kind} {kind}-common >/dev/null 2>&1; :", check=False)
    router = {"kind": kind, "servers": [name]}
    edge = made(tmp_path, fleet, "edge", router=router, dynos={"web": 1})
    edge.manifest["servers"] = [
        edge.manifest["servers"][1],
        {"name": name, "host": fleet.address(name), "dynos": False},
    ]
    assert f"package.{kind}" in edge.dynoctl("plan").stdout
    edge.apply()
    try:
        edge.settled()
        assert "edge web.1" in get(fleet.address(name), 80)
        state = fleet.exec(name, "sh", "-c", f"systemctl is-active {kind}; systemctl is-enabled {kind}", check=False)
        assert state.stdout.split() == ["inactive", "disabled"]
        assert fleet.exec(name, "sh", "-c", "command -v ruby", check=False).stdout == ""

        # An installation that was killed once apt was through: the service is enabled, and masked.
        mark = f"/var/lib/dynoctl/.installing-{kind}"
        fleet.exec(name, "sh", "-ec", f"systemctl enable -q {kind}; systemctl mask -q {kind}; : > {mark}")
        assert f"leftover.{mark}" in edge.dynoctl("plan").stdout
        edge.apply()
        edge.settled()
        state = fleet.exec(name, "sh", "-c", f"systemctl is-active {kind}; systemctl is-enabled {kind}", check=False)
        assert state.stdout.split() == ["inactive", "disabled"]
    finally:
        edge.destroy()
    script = "ls -d /etc/dynoctl /etc/systemd/system/dynoctl-router.service /var/lib/dynoctl-router; id dynoctl-router"
    assert fleet.exec(name, "sh", "-c", script, check=False).stdout == ""
