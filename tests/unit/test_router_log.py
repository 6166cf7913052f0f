"""Requests in the form of Heroku's router, from what nginx, HAProxy and Caddy really wrote."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.model.routing import ACCESS_LOG
from infra.ops import log_history
from infra.ops.journal import Reader, Wanted
from infra.ops.router_log import LONGEST, read

NGINX = (
    'app=shop method="GET" path="/x?a=1" host="shop.test" fwd="10.0.0.9" dyno="web.2" connect="0.001" service="0.018"'
    ' status="200" bytes="123" protocol="https"'
)
HAPROXY = (
    'app=shop method="GET" path="\\/x?a=1" host="shop.test" fwd="10.0.0.9" dyno="web.2" connect="1" service="18"'
    ' status="200" bytes="123" protocol="https"\n'
)
CADDY = {
    "level": "info",
    "ts": 1.5,
    "logger": "http.log.access.log0",
    "msg": "handled request",
    "request": {
        "remote_ip": "10.0.0.9",
        "remote_port": "33548",
        "proto": "HTTP/1.1",
        "method": "GET",
        "host": "shop.test:8443",
        "uri": "/x?a=1",
    },
    "user_id": "app=shop dyno=web.2 protocol=https client=10.0.0.9",
    "duration": 0.0181,
    "size": 123,
    "status": 200,
}
LINE = (
    'method=GET path="/x?a=1" host=shop.test fwd="10.0.0.9" dyno=web.2 connect=1ms service=18ms status=200 bytes=123 '
    "protocol=https"
)


def caddy(**changes: Any) -> str:
    request = {**CADDY["request"], **changes.pop("request", {})}  # type: ignore[dict-item]
    return json.dumps({**CADDY, "request": request, **changes})


@pytest.mark.parametrize(
    ("identifier", "message", "line"),
    [
        (ACCESS_LOG, NGINX, LINE),
        (ACCESS_LOG, HAPROXY, LINE),
        ("caddy", caddy(), LINE.replace("connect=1ms", "connect=")),
    ],
)
def test_the_same_line_of_every_program(identifier: str, message: str, line: str) -> None:
    assert read("shop", identifier, message) == line
    assert read("shop-admin", identifier, message) is None, "another app's"
    assert read("sho", identifier, message) is None
    assert read("shop", "nginx", message) is None, "what a program says of itself is no request"


def changed(message: str, name: str, value: str) -> str:
    start = message.index(f'{name}="') + len(name) + 2
    return message[:start] + value + message[message.index('"', start) :]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("path", "/a\\x22b\\x5Cc\\x0Ad", 'path="/a%22b%5Cc%0Ad"'),
        ("path", '\\/a\\"b\\\\c\\u000a', 'path="/a%22b%5Cc%0A"'),
        ("path", "/a b status=200", 'path="/a%20b%20status=200"'),
        ("path", "/\\xC3\\xA9", 'path="/%C3%A9"'),
        ("path", "/\\xE4\\xC3", 'path="/%E4%C3"'),
        ("path", "\\/\\u00c3\\u00a9\\u00ff", 'path="/%C3%A9%FF"'),
        ("path", "\\/" + "\\u00c3\\u00a9" * (LONGEST // 2 - 1) + "\\u00c3", f'{"%C3%A9" * (LONGEST // 2 - 1)}%C3..."'),
        ("path", "/" + "\\xC3\\xA9" * LONGEST, f'path="/{"%C3%A9" * (LONGEST // 2 - 1)}%C3..."'),
        ("path", "/é", 'path="/%C3%A9"'),
        ("path", "/" + "u" * (LONGEST + 5), f'path="/{"u" * (LONGEST - 1)}..."'),
        ("host", "shop.test:8080", "host=shop.test "),
        ("host", "a_b.shop.test", "host=a_b.shop.test "),
        ("host", "[fd00::1]:80", "host=[fd00::1] "),
        ("host", "a\\x22x=y.test", "host= "),
        ("host", "a dyno=web.9", "host= "),
        ("fwd", "2001:db8::1", 'fwd="2001:db8::1"'),
        ("fwd", '1\\" dyno=web.9', 'fwd=""'),
        ("dyno", "<NOSRV>", "dyno= "),
        ("dyno", "", "dyno= "),
        ("connect", "-", "connect= "),
        ("connect", "-1", "connect= "),
        ("connect", "1.001, 0.002", "connect=2ms "),
        ("connect", "0.001 : 12.500", "connect=12500ms "),
        ("service", "0.0005", "service=0ms "),
        ("method", "M-SEARCH", "method=M-SEARCH "),
        ("method", "<BADREQ>", "method= "),
        ("status", "431", "status=431 "),
        ("bytes", "x", "bytes= "),
        ("protocol", "gopher", "protocol=http"),
    ],
)
def test_no_request_can_forge_a_field(name: str, value: str, shown: str) -> None:
    line = read("shop", ACCESS_LOG, changed(NGINX, name, value))
    assert line is not None and shown in line and "\n" not in line
    assert line.count(" ") == LINE.count(" ") and line.count('"') == LINE.count('"')


def test_no_request_can_forge_a_field_with_caddy() -> None:
    request = {"uri": '/a"b \n\\', "host": 'x" dyno=web.9', "method": "GET path=x"}
    line = read("shop", "caddy", caddy(request=request))
    assert line is not None
    assert line.startswith('method= path="/a%22b%20%0A%5C" host= fwd="10.0.0.9" dyno=web.2 connect= service=18ms')
    behind = "app=shop dyno= protocol=http client=10.0.0.9 proxied=203.0.113.9"
    assert 'fwd="203.0.113.9" dyno= ' in str(read("shop", "caddy", caddy(user_id=behind)))
    lie = f"{behind} app=other"
    assert 'fwd="" dyno= ' in str(read("shop", "caddy", caddy(user_id=lie)))
    assert read("other", "caddy", caddy(user_id=lie)) is None


@pytest.mark.parametrize(
    "message",
    [
        "",
        "app=shop",
        NGINX[:-1],
        NGINX + " x",
        "x" + NGINX,
        NGINX.replace('"GET"', "GET"),
        NGINX.replace('path="/x?a=1"', 'path="/x" status="1"'),
        "[" * 100_000,
        "{}",
        json.dumps({**CADDY, "logger": "http.log.error"}),
        json.dumps({**CADDY, "request": 7}),
        json.dumps({**CADDY, "duration": "x"}),
        json.dumps({**CADDY, "user_id": ""}),
        json.dumps({**CADDY, "user_id": "app=shop"}),
        "null",
    ],
    ids=lambda text: text[:20],
)
@pytest.mark.parametrize("identifier", [ACCESS_LOG, "caddy"])
def test_everything_else_is_no_request(message: str, identifier: str) -> None:
    assert read("shop", identifier, message) is None


def entry(**fields: str) -> bytes:
    plain = {"_SYSTEMD_UNIT": "dynoctl-router.service", "__REALTIME_TIMESTAMP": "5", "__CURSOR": "c", "PRIORITY": "6"}
    return json.dumps({**plain, "SYSLOG_IDENTIFIER": ACCESS_LOG, "MESSAGE": NGINX, "_PID": "77", **fields}).encode()


def test_only_the_routers_own_unit_is_believed() -> None:
    reader = Reader("shop", "grid-1")
    line = reader.read(entry())
    assert line is not None
    assert (line.dyno, line.source, line.message, line.time, line.cursor) == ("router", "dynoctl", LINE, 5, "c")
    unit = "dyno-shop-web-1.service"
    forged = reader.read(entry(_SYSTEMD_UNIT=unit))
    assert forged is not None and (forged.dyno, forged.source) == ("web.1", "app")
    assert reader.read(entry(_SYSTEMD_UNIT="other.service", UNIT="dynoctl-router.service")) is None
    assert reader.read(entry(_SYSTEMD_UNIT="init.scope", UNIT="dynoctl-router.service", _PID="1")) is None
    assert reader.read(entry(__REALTIME_TIMESTAMP="x")) is None


JOURNALCTL = """\
#!/bin/sh
echo "$@" >> "$LOG"
case " $* " in *" -F "*) exit;; esac
cat "$ENTRIES"
exit 3
"""


@pytest.mark.parametrize(
    ("wanted", "last", "entries"),
    [
        (Wanted(), 2, ["first", "app=shop a", "end 0"]),
        (Wanted(types=("router",)), None, ["first", "app=shop a", '{"user_id":"app=shop b"}', "end 3"]),
        (Wanted(types=("web",)), 5, None),
        (Wanted(dynos=("web.1",)), None, None),
    ],
)
def test_the_last_lines_are_counted_without_those_of_other_apps(
    tmp_path: Path, wanted: Wanted, last: int | None, entries: list[str] | None
) -> None:
    """A busy app on the same router takes nothing from the lines of a quiet one."""
    rows = [entry(MESSAGE=f"app=other {number}") for number in range(50)]
    rows.insert(0, entry(MESSAGE="first", _SYSTEMD_UNIT="dyno-shop-web-1.service"))
    rows.insert(20, entry(MESSAGE="app=shop a"))
    rows.append(entry(MESSAGE=json.dumps({"user_id": "app=shop b"}, separators=(",", ":"))))
    # Neither a request to another app nor an error may look like one to this app.
    rows.insert(10, entry(MESSAGE='[error] connect() failed, request: "GET /?app=shop HTTP/1.1"'))
    rows.insert(10, entry(MESSAGE='app=other method="GET" path="/?a=\\x22app=shop b"'))
    forged = {"uri": '/?"user_id":"app=shop b', "user_id": "app=other b"}
    rows.insert(10, entry(MESSAGE=json.dumps(forged, separators=(",", ":"))))
    text = b"\n".join(rows).replace(b": ", b":").replace(b", ", b",") + b"\n"
    (tmp_path / "entries").write_bytes(text)
    (tmp_path / "journalctl").write_text(JOURNALCTL)
    (tmp_path / "journalctl").chmod(0o755)
    query = log_history.Query("shop", wanted, last)
    values = {**log_history.values(query), "reverse": "-r"}
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "LOG": str(tmp_path / "log"),
        "ENTRIES": str(tmp_path / "entries"),
    }
    script = log_history.SHOW + log_history._HISTORY
    done = subprocess.run(["sh", "-c", script], env={**environment, **values}, capture_output=True, text=True)
    lines = done.stdout.partition("entries\n")[2].splitlines()
    asked = (tmp_path / "log").read_text()
    assert ("_SYSTEMD_UNIT=dynoctl-router.service" in asked) == (entries is not None)
    if entries is not None:
        found = [json.loads(line)["MESSAGE"] if line.startswith("{") else line for line in lines]
        assert found == entries
