"""One address for all dynos: no request that may be sent twice fails, whatever is killed, and nothing else is touched."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.load import Load
from tests.lab.support import Project, eventually, get, snapshot

APP = """\
Words = Struct.new(:count) do
  def each
    count.times { |number| yield "word #{number}\\n"; sleep 0.3 }
  end
end
App = lambda do |env|
  headers = { "content-type" => "text/plain" }
  case env["PATH_INFO"]
  when "/up" then sleep 0.03; [200, headers, ["up"]]
  when "/stream" then [200, headers, Words.new(3)]
  when "/headers" then [200, headers, [env.select { |name, _| name =~ /FORWARDED|REQUEST_START/ }.to_s]]
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


def made(directory: Path, fleet: Any, name: str, **keys: Any) -> Project:
    source = directory / "source"
    source.mkdir(parents=True)
    (source / "app.rb").write_text(APP)
    framework = {"name": "rack", "require": "./app", "app": "App"}
    one = Project(directory, fleet, name, source, framework=framework, app_server={"name": "puma"})
    one.manifest |= {"env": {"WORD": "first", "APP": name}, **keys}
    return one


@pytest.fixture(scope="module")
def shop(fleet: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Four dynos on three servers, and the router on the first of these."""
    before = {name: snapshot(fleet, name) for name in fleet.names[:3]}
    router = {"kind": "nginx", "servers": ["grid-1"], "listen": 8080, "timeout": 5}
    project = made(tmp_path_factory.mktemp("shop"), fleet, "routed", router=router, dynos={"web": 4})
    project.manifest["servers"] = project.manifest["servers"][:3]
    yield project
    project.destroy()
    for name, text in before.items():
        assert snapshot(fleet, name) == text, "nothing of the router is left, and nothing else is gone"


def through(fleet: Any, server: str = "grid-1", port: int = 8080, clients: int = CLIENTS) -> Load:
    """A load on a router."""
    return Load([{"dyno": "router", "listen": fleet.address(server), "port": port}] * clients)


def going(load: Load, many: int = 300) -> None:
    """Wait until so many more requests were answered."""
    until = load.count + many
    eventually(lambda: load.count > until, 60)


def kill_dyno(fleet: Any, row: dict[str, Any]) -> None:
    unit = f"dyno-routed-{row['dyno'].replace('.', '-')}.service"
    fleet.exec(row["server"], "systemctl", "kill", "--kill-whom=all", "-s", "KILL", unit)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_fails_while_dynos_and_servers_die(
    shop: Project, fleet: Any, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.manifest["router"]["kind"] = kind
    shop.apply()
    shop.settled()
    rows = shop.ps()
    away = next(row["server"] for row in rows.values() if row["server"] != "grid-1")
    with through(fleet) as load:
        for row in rows.values():
            if row["server"] != away:
                kill_dyno(fleet, row)
                break
        going(load)
        one = str(load)
    with through(fleet) as lost:
        going(lost, 50)
        fleet.cut(away)  # it says nothing any more, not even that it refuses, and some requests are under way there
        fleet.kill(away)
        going(lost, 400)
    fleet.start(away)
    with capsys.disabled():
        print(f"\n{kind}: a dyno killed: {one}; a server killed: {lost}")
    assert load.failures == []
    assert lost.failures == []
    eventually(lambda: all(row["state"] == "up" for row in shop.ps(code=None).values()), 60)


@pytest.mark.parametrize("kind", [KINDS[0], *(pytest.param(one, marks=pytest.mark.soak) for one in KINDS[1:])])
def test_a_deploy_and_a_scale_down(shop: Project, fleet: Any, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    shop.manifest["router"]["kind"] = kind
    shop.manifest["dynos"] = {"web": 2}
    shop.apply()
    with through(fleet) as load:
        shop.manifest["env"]["WORD"] = f"of {kind}"
        shop.apply()
        deployed = load.count
        shop.manifest["dynos"] = {"web": 4}
        shop.apply()
        shop.manifest["dynos"] = {"web": 2}
        shop.apply()
        going(load, 50)
    with capsys.disabled():
        print(f"\n{kind}: a deploy with two dynos ({deployed}), 2 -> 4 -> 2 dynos: {load}")
    assert load.failures == []
    assert f"of {kind}" in get(fleet.address("grid-1"), 8080)
    shop.manifest["dynos"] = {"web": 4}
    shop.apply()
    shop.settled()


@pytest.mark.parametrize("kind", KINDS)
def test_what_passes(shop: Project, fleet: Any, kind: str) -> None:
    """Headers, a stream and a WebSocket; a client's own word on where it comes from is not believed."""
    shop.manifest["router"]["kind"] = kind
    shop.apply()
    address = fleet.address("grid-1")
    request = urllib.request.Request(f"http://{address}:8080/headers", headers={"X-Forwarded-For": "6.6.6.6"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read().decode()
    assert '"HTTP_X_FORWARDED_PROTO"=>"http"' in text
    assert f'"HTTP_X_FORWARDED_HOST"=>"{address}:8080"' in text
    assert '"HTTP_X_FORWARDED_PORT"=>"8080"' in text
    assert "HTTP_X_REQUEST_START" in text
    assert "6.6.6.6" not in text

    connection = http.client.HTTPConnection(address, 8080, timeout=10)
    connection.request("GET", "/stream")
    stream = connection.getresponse()
    assert stream.read1(100) == b"word 0\n", "the first piece comes before the last is made"
    assert b"word 2" in stream.read()
    connection.close()

    with socket.create_connection((address, 8080), 10) as peer:
        ask = f"GET /socket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        peer.sendall(f"{ask}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        said = b""
        while b"\r\n\r\n" not in said:
            said += peer.recv(1000)
        assert said.startswith(b"HTTP/1.1 101")
        for word in (b"one", b"two", b"three"):
            peer.sendall(word)
            assert peer.recv(100) == b"<" + word + b">"


@pytest.mark.parametrize("kind", KINDS)
def test_maintenance(shop: Project, fleet: Any, kind: str) -> None:
    shop.manifest["router"]["kind"] = kind
    shop.apply()
    address = fleet.address("grid-1")
    page = shop.directory / "page.html"
    page.write_text("<h1>Wir räumen auf</h1>")
    shop.dynoctl("maintenance", "on", "--page", "page.html")
    assert get(address, 8080, "/anything") == "503 <h1>Wir räumen auf</h1>"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{address}:8080/", data=b"a=b", timeout=10)
    assert refused.value.code == 503
    assert refused.value.headers["Retry-After"] == "120"
    assert refused.value.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Maintenance is on (grid-1)" in shop.dynoctl("ps").stdout
    assert "Note: grid-1 shows the maintenance page" in shop.dynoctl("plan").stdout
    shop.manifest["env"]["WORD"] = f"after {kind}"
    shop.apply()
    assert get(address, 8080).startswith("503"), "an apply does not end it"
    assert "after" in shop.get(shop.ps()["web.1"]), "the dynos go on"
    shop.dynoctl("maintenance", "off")
    assert f"after {kind}" in get(address, 8080)
    assert json.loads(shop.dynoctl("ps", "--json").stdout)["maintenance"] == []
