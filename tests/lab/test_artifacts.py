"""Slugs by way of a store, and from server to server: a real registry and nginx, real curl, and counted bytes."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from infra.lab import fleet as labs
from infra.lab.state import DATA
from tests.lab.support import APPS, Project, changed

WRITE, READ = "wRite-4711", "rEad-4712"
SIZE = 6 << 20
"""Bytes of the app that cannot be compressed."""

REGISTRY = """\
version: 0.1
storage: {filesystem: {rootdirectory: /srv/registry}}
http: {addr: 0.0.0.0:5000}
auth: {htpasswd: {realm: lab, path: /etc/store/registry.users}}
"""

NGINX = """\
user www-data;
events {}
pid /run/store-nginx.pid;
error_log /var/log/store.log;
http {
  access_log off;
  server {
    listen 8088;
    location /dyno/ {
      root /srv/store;
      client_max_body_size 0;
      dav_methods PUT;
      create_full_put_path on;
      auth_basic slugs;
      auth_basic_user_file /etc/store/read;
      limit_except GET HEAD { auth_basic slugs; auth_basic_user_file /etc/store/write; }
    }
  }
}
"""

START = """\
mkdir -p /srv/store /srv/registry /etc/store && chown www-data /srv/store
systemctl is-active --quiet store-nginx ||
  systemd-run --quiet --collect --unit=store-nginx nginx -c /etc/store/nginx.conf -g 'daemon off;'
systemctl is-active --quiet store-registry ||
  systemd-run --quiet --collect --unit=store-registry docker-registry serve /etc/store/registry.yml
for port in 5000 8088; do
  tries=0
  until [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/dyno/x")" != 000 ] || [ $tries -gt 300 ]; do
    tries=$((tries + 1)); sleep 0.1
  done
done
"""


def users(line: Callable[[str, str], str], *names: str) -> str:
    return "".join(line(name, {"ci": WRITE, "servers": READ}[name]) for name in names)


@pytest.fixture(scope="module")
def stores(fleet: Any) -> Iterator[str]:
    """A registry and nginx with WebDAV on the server ``data``; its address."""

    def hashed(name: str, password: str) -> str:
        return f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n"

    def plain(name: str, password: str) -> str:
        return f"{name}:{{PLAIN}}{password}\n"

    files = {
        "registry.yml": REGISTRY,
        "nginx.conf": NGINX,
        "registry.users": users(hashed, "ci", "servers"),
        "write": users(plain, "ci"),
        "read": users(plain, "ci", "servers"),
    }
    fleet.exec(DATA, "mkdir", "-p", "/etc/store")
    for name, text in files.items():
        fleet.exec(DATA, "sh", "-c", f"cat > /etc/store/{name}", input=text)
    fleet.exec(DATA, "sh", "-ec", START)
    yield fleet.address(DATA)
    fleet.exec(DATA, "systemctl", "stop", "store-nginx", "store-registry", check=False)
    fleet.exec(DATA, "rm", "-rf", "/srv/store", "/srv/registry", "/etc/store")


@pytest.fixture
def app(fleet: Any, tmp_path: Path) -> Iterator[Project]:
    framework = {"name": "rack", "require": "./probe", "app": "Probe"}
    app = Project(tmp_path, fleet, "ship", APPS / "probe", framework=framework)
    app.manifest["dynos"] = {"web": 3}
    app.manifest["rollout"] = {"max_parallel": "100%", "healthy_deadline": 300}
    (app.source / "random").write_bytes(os.urandom(SIZE))
    app.environment |= {"STORE_WRITE": WRITE, "STORE_READ": READ}
    yield app
    app.destroy()


LOGINS = {
    "user": "ci",
    "password": {"from_env": "STORE_WRITE"},
    "read": {"user": "servers", "password": {"from_env": "STORE_READ"}},
    "insecure": True,
}


def sent(fleet: Any) -> int:
    """The bytes that this computer sent to the network of the lab so far."""
    bridge = labs.get(fleet._name).bridge
    return int(Path(f"/sys/class/net/{bridge}/statistics/tx_bytes").read_text())


@contextmanager
def watched(*words: str) -> Iterator[set[str]]:
    """The words that were on a command line meanwhile, on this machine or on a server."""
    found: set[str] = set()
    end = threading.Event()

    def watch() -> None:
        while not end.wait(0.02):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    text = process.read_bytes()
                except OSError:
                    continue
                found.update(word for word in words if word.encode() in text)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        end.set()
        thread.join()


LEFT = r"""
journalctl --no-pager -o export | grep -acE 'WORDS' | sed 's/^/journal /'
grep -raElE 'WORDS' /var/lib/dynoctl /etc /run/dynoctl /run/systemd /tmp /var/tmp /root 2>/dev/null | sed 's/^/file /'
systemctl list-units --all --plain --no-legend 'dynoctl-pull-*' 'dynoctl-relay-*' | sed 's/^/unit /'
ls -d /run/dynoctl-relay-*.ready /var/lib/dynoctl/ship/slugs/*.new 2>/dev/null | sed 's/^/left /'
:
"""


def left(fleet: Any, server: str, *words: str) -> list[str]:
    """What is left on a server of a delivery; the journal counts the lines with one of the words."""
    script = LEFT.replace("WORDS", "|".join(words))
    return [line for line in fleet.exec(server, "sh", "-c", script).stdout.splitlines() if line != "journal 0"]


def holds(fleet: Any, server: str) -> list[str]:
    """The slugs on a server, by the sha256 of the images."""
    script = "cat /var/lib/dynoctl/ship/slugs/*.squashfs | wc -c; ls /var/lib/dynoctl/ship/slugs"
    return list(fleet.exec(server, "sh", "-c", script).stdout.split())


def test_servers_pull_what_was_pushed_once(fleet: Any, app: Project, stores: str) -> None:
    """One of them has no curl: it gets the slug over SSH, and the report says why."""
    app.manifest["artifacts"] = {"oci": {"repository": f"{stores}:5000/team/ship", **LOGINS}}
    plan = app.dynoctl("plan").stdout
    assert f"The slug is pushed once to {stores}:5000/team/ship, pulled by 3 servers, or sent over SSH" in plan
    before = sent(fleet)
    away = ("mv /usr/bin/curl /usr/bin/curl.away", "mv /usr/bin/curl.away /usr/bin/curl")
    with watched(WRITE, READ) as seen, changed(fleet, "grid-3", *away):
        done = app.apply()
    through = sent(fleet) - before
    assert f"The slug was sent over SSH to grid-3: it cannot be pulled from {stores}:5000/team/ship: curl is not" in (
        done.stdout
    )
    assert 2 * SIZE < through < 2.5 * SIZE, "once to the registry, and once to the server without curl"
    assert len({str(holds(fleet, name)) for name in fleet.names}) == 1
    assert not seen
    for name in fleet.names:
        assert left(fleet, name, WRITE, READ) == []
    assert app.get(app.ps()["web.3"]) == "probe web.3\n"
    app.settled()


def test_servers_hand_it_on(fleet: Any, app: Project) -> None:
    app.manifest["artifacts"] = {"ssh": {"relay": True}}
    assert "The slug is sent once to each network, handed on between 3 servers." in app.dynoctl("plan").stdout
    before = sent(fleet)
    with watched("Authorization", "Bearer ") as seen:
        done = app.apply()
    assert "sent over SSH" not in done.stdout
    assert SIZE < sent(fleet) - before < 1.5 * SIZE
    assert len({str(holds(fleet, name)) for name in fleet.names}) == 1
    assert not seen
    for name in fleet.names:
        assert left(fleet, name, "Bearer [0-9a-f]{64}") == []


@pytest.mark.soak
def test_fifty_megabytes_to_thirty_two_servers(
    fleet: Any, app: Project, stores: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What passes this computer is the slug once, not 32 times."""
    size, names = 50 << 20, fleet.need(32)
    app.manifest |= fleet.inventory(*names)
    app.manifest["dynos"] = {"web": len(names)}
    app.manifest["artifacts"] = {"oci": {"repository": f"{stores}:5000/team/ship", **LOGINS}}
    (app.source / "random").write_bytes(os.urandom(size))
    before = sent(fleet)
    assert "was sent over SSH" not in app.apply().stdout
    through = sent(fleet) - before
    with capsys.disabled():
        print(f"\n{size >> 20} MiB to {len(names)} servers: {through / (1 << 20):.1f} MiB passed this computer")
    assert size < through < 1.5 * size
    assert len({str(holds(fleet, name)) for name in names}) == 1


@pytest.mark.soak
def test_a_store_with_another_file(fleet: Any, app: Project, stores: str) -> None:
    """What nginx gives has the right size and the wrong content, then it refuses servers, then it is right."""
    app.manifest["artifacts"] = {"http": {"url": f"http://{stores}:8088/dyno", **LOGINS}, "bandwidth": "64M"}
    assert "was sent over SSH" not in app.apply().stdout
    (image,) = fleet.exec(DATA, "sh", "-c", "ls /srv/store/dyno/ship").stdout.split()
    app.destroy()
    spoil = f"cd /srv/store/dyno/ship; cp -p {image} /srv/kept; truncate -s 0 {image}; truncate -r /srv/kept {image}"
    with changed(fleet, DATA, spoil, f"mv /srv/kept /srv/store/dyno/ship/{image}"):
        done = app.apply()
    assert "The slug was sent over SSH to grid-1, grid-2, grid-3: it cannot be pulled from" in done.stdout
    assert "the file has another sha256 than the slug" in done.stdout
    app.destroy()
    app.manifest["artifacts"] |= {"fallback": False}
    app.environment["STORE_READ"] = "wrong"
    done = app.apply(code=1)
    assert "answers 401 to what servers log in with" in done.stdout
    assert "hint" in done.stdout and "artifacts.http.read" in done.stdout
    app.environment["STORE_READ"] = READ
    before = sent(fleet)
    app.apply()
    assert sent(fleet) - before < SIZE, "the store has it already"
    assert [left(fleet, name, WRITE, READ) for name in fleet.names] == [[], [], []]


@pytest.mark.soak
def test_servers_that_do_not_reach_each_other(fleet: Any, app: Project) -> None:
    app.manifest["artifacts"] = {"ssh": {"relay": True}}
    addresses = [fleet.address(name) for name in ("grid-2", "grid-3")]
    do = "; ".join(f"ip route add blackhole {address}/32" for address in addresses)
    undo = "; ".join(f"ip route del blackhole {address}/32" for address in addresses)
    with changed(fleet, "grid-1", do, undo):
        done = app.apply()
    assert "sent over SSH to" in done.stdout and "it cannot be relayed from grid-1" in done.stdout
    assert len({str(holds(fleet, name)) for name in fleet.names}) == 1


@pytest.mark.soak
def test_doctor_names_what_is_missing(fleet: Any, app: Project, stores: str) -> None:
    app.manifest["artifacts"] = {"oci": {"repository": f"{stores}:5000/team/ship", **LOGINS}, "fallback": False}
    away = ("mv /usr/bin/curl /usr/bin/curl.away", "mv /usr/bin/curl.away /usr/bin/curl")
    with changed(fleet, "grid-2", *away):
        found = json.loads(app.dynoctl("doctor", "--json", code=1).stdout)["findings"]
    said = {one["server"]: (one["result"], one["says"]) for one in found if one["check"] == "artifacts"}
    assert said["here"] == ("ok", f"{stores}:5000/team/ship answers")
    assert said["grid-2"] == ("failed", "curl is not installed")
    assert said["grid-1"][0] == "ok" and "answers" in said["grid-1"][1]
