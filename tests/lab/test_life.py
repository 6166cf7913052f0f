"""The whole life of an app on three servers: as a user lives it, with the starter that newcomers get."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lab.support import STARTERS, Project, get, snapshot

MIDDLEWARE = [
    {"use": "Rack::Deflater"},
    {"use": "Ping", "require": "./lib/ping", "args": ["/ping"], "options": {"cache": True}},
    {"map": "/admin", "require": "./admin", "app": "Admin"},
]


@pytest.fixture
def shop(tmp_path: Path, fleet: Any) -> Any:
    project = Project(
        tmp_path,
        fleet,
        "shop",
        STARTERS / "sinatra",
        framework={"name": "sinatra", "require": "./app", "app": "Shop"},
        middleware=MIDDLEWARE,
        env={"LOG_LEVEL": "info"},
        database={"adapter": "postgresql", "url": {"from_file": str(fleet.path / "database_url")}},
        cache={"adapter": "redis", "url": {"from_file": str(fleet.path / "cache_url")}},
    )
    project.manifest["dynos"] = {"web": 4}
    yield project
    project.destroy()


def test_whole_life(shop: Project, fleet: Any) -> None:
    before = {server: snapshot(fleet, server) for server in fleet.names}

    assert shop.dynoctl("validate").stdout == "dyno.yaml is valid: shop, 4 dynos on 3 servers.\n"
    plan = shop.plan()
    assert plan["summary"] == {"add": 41, "change": 0, "destroy": 0, "start": 4, "restart": 0, "stop": 0}
    assert plan["round_trips"] == {"connections": 3, "execs": 3}
    assert snapshot(fleet, "grid-1") == before["grid-1"], "a plan changes nothing"

    shop.apply()
    dynos = shop.ps()
    assert list(dynos) == ["web.1", "web.2", "web.3", "web.4"]
    assert {row["server"] for row in dynos.values()} == set(fleet.names)
    assert all(row["state"] == "up" and row["restarts"] == 0 for row in dynos.values())
    for name, row in dynos.items():
        assert name in shop.get(row, "/")
        assert shop.get(row, "/ping").strip().startswith("pong")
        assert name in shop.get(row, "/admin")
        assert "200" not in shop.get(row, "/db")[:4]
    shop.settled()
    shop.apply()  # again: nothing to do
    assert shop.ps()["web.1"]["pid"] == dynos["web.1"]["pid"]

    shop.manifest["dynos"]["web"] = 7
    shop.apply()
    seven = shop.ps()
    assert len(seven) == 7
    assert all(seven[name]["pid"] == dynos[name]["pid"] for name in dynos), "what runs stays as it is"
    shop.manifest["dynos"]["web"] = 2
    shop.apply()
    assert list(shop.ps()) == ["web.1", "web.2"], "the highest numbers leave"
    shop.settled()

    shop.manifest["env"]["LOG_LEVEL"] = "debug"
    shop.manifest["env"]["GREETING"] = 'a "quoted" $HOME `x` \\ line\nand another'
    text = shop.dynoctl("plan").stdout
    assert 'variables.LOG_LEVEL: "info" -> "debug"' in text
    assert "2 dynos restart." in text
    old = shop.ps()
    shop.apply()
    new = shop.ps()
    assert all(new[name]["pid"] != old[name]["pid"] for name in new)

    entries = json.loads(shop.dynoctl("history", "--json").stdout)["history"]
    assert [entry["result"] for entry in entries] == ["ok"] * 4, "those that changed something"
    assert [(entry["added"] > 0, entry["destroyed"] > 0) for entry in entries[:3]] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    assert "@" in entries[0]["who"]
    assert "ok" in shop.dynoctl("history", "-n", "1").stdout

    slug = new["web.1"]["slug"]
    (shop.source / "CHANGED").write_text("a new file\n")
    shop.apply()
    changed = shop.ps()
    assert {row["slug"] for row in changed.values()} != {slug}
    shop.settled()

    shop.destroy()
    for server in fleet.names:
        assert snapshot(fleet, server) == before[server], server
    assert "web" not in json.dumps(shop.ps())


def test_drift_is_found_said_and_repaired(shop: Project, fleet: Any) -> None:
    shop.apply()
    home = {name: row["server"] for name, row in shop.ps().items()}

    def on(dyno: str, script: str) -> None:
        fleet.exec(home[dyno], "sh", "-c", script)

    on("web.1", "sed -i s/MemoryMax=.*/MemoryMax=1G/ /etc/systemd/system/dyno-shop-web-1.service")
    on("web.1", "systemctl daemon-reload")
    on("web.2", "chmod 644 /etc/dyno/shop/web.2.env; echo EXTRA=1 >> /etc/dyno/shop/web.2.env")
    on("web.3", "systemctl stop dyno-shop-web-3; userdel dyno-shop-web-3")
    on("web.4", "systemctl set-property --runtime dyno-shop-web-4 CPUQuota=80%")
    plan = shop.plan()
    drifted = {change["address"].partition("/")[2] for change in plan["changes"] if change["drift"]}
    assert drifted == {
        "unit.shop-web.1",
        "env_file.shop-web.2",
        "user.shop-web.3",
        "unit.shop-web.3",
        "unit.shop-web.4",
    }
    text = shop.dynoctl("plan", "--detailed-exitcode", code=2).stdout
    assert 'unit.Service.MemoryMax: "1G" -> 512 MiB  # by hand: 512 MiB -> "1G"' in text
    assert 'mode: "0644" -> "0600"' in text
    assert "- variables.EXTRA = (not read)" in text
    assert 'state: "stopped" -> "running"' in text
    assert 'cpu: "80%" -> "25%"' in text
    assert "Drift: 5 resources changed by hand." in text
    shop.apply()
    shop.settled()

    # Drop-ins of any place weaken a unit, once systemd loads them. Those that others share stay, and count no more.
    server, shared = home["web.1"], "/etc/systemd/system/dyno-.service.d/all.conf"
    drop = 'mkdir -p $1.d && printf \'[%s]\\n%s\\n\' "$2" "$3" > $1.d/x.conf'
    places = (("srv-dyno-shop-*.mount", "Mount", "Options=loop,ro"), ("dyno-shop-web-1.socket", "Socket", "Backlog=5"))
    for unit, section, line in places:
        fleet.exec(server, "sh", "-ec", f"cd /etc/systemd/system; set -- {unit} {section} {line}; {drop}")
    fleet.exec(server, "sh", "-ec", f"mkdir -p {shared[:-9]}; printf '[Service]\nNoNewPrivileges=no\n' > {shared}")
    fleet.exec(server, "sh", "-ec", 'mount -o remount,suid "/srv/dyno/shop/$(ls /srv/dyno/shop)"')
    found = {change["address"]: change["drift"] for change in shop.plan()["changes"]}
    here = [f"{server}/unit.shop-{dyno}" for dyno, at in home.items() if at == server]
    assert found.keys() >= {*here, f"{server}/socket.shop-web.1"}
    assert any("/mount.shop@" in address for address in found) and all(found.values())
    shop.apply()
    shop.settled()
    sandbox = (
        "systemctl show -p NoNewPrivileges --value dyno-shop-web-1.service; cat /proc/mounts | grep /srv/dyno/shop"
    )
    done = fleet.exec(server, "sh", "-c", f"{sandbox}; ls {shared}; rm {shared}; rmdir {shared[:-9]}").stdout
    assert done.startswith("yes\n") and "nosuid" in done and done.endswith(f"{shared}\n")
    shop.settled()

    # A whole dyno that somebody removed keeps its home and its port.
    before = shop.ps()["web.4"]
    on("web.4", "systemctl disable -q --now dyno-shop-web-4; rm -r /etc/systemd/system/dyno-shop-web-4*")
    on("web.4", "systemctl daemon-reload")
    shop.apply()
    after = shop.ps()["web.4"]
    assert (after["server"], after["port"]) == (before["server"], before["port"])
    shop.settled()


def test_a_server_that_leaves_the_manifest_gives_its_dynos_away(shop: Project, fleet: Any) -> None:
    before = snapshot(fleet, "grid-3")
    shop.apply()
    gone = shop.manifest["servers"].pop()
    assert gone["name"] == "grid-3"
    text = shop.dynoctl("plan").stdout
    assert "grid-3 is no longer in dyno.yaml; this app is removed from it" in text
    assert "(from grid-3)" in text
    shop.apply()
    assert {row["server"] for row in shop.ps().values()} == {"grid-1", "grid-2"}
    assert snapshot(fleet, "grid-3") == before
    shop.settled()


def test_two_apps_with_alike_names_leave_each_other_alone(shop: Project, fleet: Any, tmp_path: Path) -> None:
    other = Project(tmp_path / "other", fleet, "shop-admin", STARTERS / "sinatra")
    other.manifest |= {"framework": {"name": "sinatra", "require": "./app", "app": "Shop"}, "dynos": {"web": 3}}
    shop.apply()
    ports = {(row["server"], row["port"]) for row in shop.ps().values()}
    other.apply()
    rows = other.ps()
    assert not ports & {(row["server"], row["port"]) for row in rows.values()}
    shop.settled()
    shop.destroy()
    assert all(row["state"] == "up" for row in other.ps().values())
    assert all("web" in get(row["listen"], row["port"]) for row in other.ps().values())
    other.settled()
    other.destroy()


def test_over_capacity_says_how_many_cores_are_missing(shop: Project) -> None:
    cores = int(shop.fleet.exec("grid-1", "nproc").stdout) * 3
    shop.manifest["dynos"]["web"] = cores * 4 + 3
    done = shop.dynoctl("plan", code=1)
    assert "no capacity for 3 dynos" in done.stderr
    assert "0.75 more cores are needed" in done.stderr
    shop.dynoctl("apply", "--auto-approve", code=1)
    assert shop.ps() == {}


def test_apply_asks(shop: Project) -> None:
    done = shop.dynoctl("apply", code=1, stdin="yes\n")
    assert "needs approval, and stdin is not a terminal" in done.stderr
    assert shop.ps() == {}
