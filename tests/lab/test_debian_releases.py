"""The main job on Debian 13, and on Debian 12 and 13 in one fleet: whatever the versions, an apply leaves nothing to do."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from infra.errors import DynoctlError
from infra.lab import fleet as labs
from tests.lab.conftest import Fleet, lab_name
from tests.lab.load import Load
from tests.lab.support import STARTERS, Project, eventually, get, snapshot


@pytest.fixture(scope="module")
def mixed() -> Iterator[Fleet]:
    """A lab of its own: grid-1 and bare-1 run Debian 13, grid-2 runs Debian 12."""
    name = f"{lab_name()}-mixed"
    try:
        yield Fleet(name, 2, ("trixie", "bookworm"))
    finally:
        with suppress(DynoctlError):
            labs.down(name, lambda _: None)


def shop_on(fleet: Fleet, directory: Path, server: str, *names: str) -> Project:
    project = Project(
        directory,
        fleet,
        "shop",
        STARTERS / "sinatra",
        framework={"name": "sinatra", "require": "./app", "app": "Shop"},
        app_server={"name": server},
        database={"adapter": "postgresql", "url": {"from_file": str(fleet.path / "database_url")}},
        cache={"adapter": "redis", "url": {"from_file": str(fleet.path / "cache_url")}},
    )
    project.manifest |= fleet.inventory(*names)
    return project


@pytest.mark.parametrize(
    "server",
    [pytest.param("thin", marks=pytest.mark.soak), "puma", pytest.param("unicorn", marks=pytest.mark.soak)],
)
def test_the_main_job_on_a_mixed_fleet(mixed: Any, tmp_path: Path, server: str) -> None:
    before = {name: snapshot(mixed, name) for name in mixed.names}
    systemds = {mixed.exec(name, "systemctl", "--version").stdout.split()[1] for name in mixed.names}
    assert systemds == {"252", "257"}
    shop = shop_on(mixed, tmp_path, server)
    shop.apply()
    shop.settled()
    rows = shop.ps()
    assert {row["server"] for row in rows.values()} == set(mixed.names)
    assert all(name in shop.get(row) and shop.get(row, "/visits").endswith("visits\n") for name, row in rows.items())

    # Since systemd 254, whoever enables any unit without a reload makes every unit look outdated.
    home = rows["web.1"]["server"]
    for name in mixed.names:
        mixed.exec(name, "systemctl", "--no-reload", "enable", "debug-shell.service")
    shop.settled()
    for name in mixed.names:
        mixed.exec(name, "systemctl", "disable", "-q", "debug-shell.service")
    mixed.exec(home, "sed", "-i", "s/MemoryMax=.*/MemoryMax=1G/", "/etc/systemd/system/dyno-shop-web-1.service")
    assert [change["address"] for change in shop.plan()["changes"]] == [f"{home}/unit.shop-web.1"]

    (shop.source / "CHANGED").write_text("a new file\n")
    shop.apply()
    shop.settled()
    slug = shop.ps()["web.1"]["slug"]
    assert slug != rows["web.1"]["slug"]
    shop.dynoctl("rollback", "--auto-approve")
    assert {row["slug"] for row in shop.ps().values()} == {rows["web.1"]["slug"]}
    assert "hello" in shop.dynoctl("run", "--", "echo", "hello").stdout
    shop.destroy()
    assert {name: snapshot(mixed, name) for name in mixed.names} == before


def test_each_crash_is_counted_and_empties_tmp(mixed: Any, tmp_path: Path) -> None:
    """Also where somebody has a shell in it. A change of its size counts at once, and nothing stays mounted."""
    shop = shop_on(mixed, tmp_path, "thin")
    shop.apply()
    homes = {name: row["server"] for name, row in shop.ps().items()}
    assert set(homes.values()) == set(mixed.names)
    for name, server in homes.items():
        mixed.exec(server, "sh", "-c", f"cd /run/dyno/shop/{name} && setsid sleep 10m >/dev/null 2>&1 &")
        for crash in (1, 2, 3):
            mixed.exec(server, "touch", f"/run/dyno/shop/{name}/old")
            service = f"dyno-shop-{name.replace('.', '-')}.service"
            mixed.exec(server, "systemctl", "kill", "-s", "KILL", service)
            eventually(lambda name=name, crash=crash: restarts(shop.ps()[name]) == (crash, "up"))
            assert mixed.exec(server, "ls", "-A", f"/run/dyno/shop/{name}").stdout == ""
        assert "3 restarts" in shop.dynoctl("ps").stdout
        # More than the five starts in 10 s that systemd allows a unit by default.
        mixed.exec(server, "sh", "-c", CRASHES, "crashes", service)
        eventually(lambda name=name: restarts(shop.ps()[name]) == (11, "up"))
        assert mixed.exec(server, "ls", "-A", f"/run/dyno/shop/{name}").stdout == ""
    shop.manifest["dynos"] = {"web": {"count": 2, "tmp": "24M"}}
    shop.apply()
    shop.settled()
    for name, server in homes.items():
        size = mixed.exec(server, "findmnt", "-bno", "SIZE", f"/run/dyno/shop/{name}").stdout
        assert (int(size), restarts(shop.ps()[name])) == (24 << 20, (0, "up"))
    shop.destroy()
    for name in mixed.names:
        assert "/run/dyno" not in mixed.exec(name, "cat", "/proc/mounts").stdout


CRASHES = """\
for crash in 1 2 3 4 5 6 7 8; do
  until systemctl is-active -q "$1"; do sleep 0.1; done
  systemctl kill -s KILL "$1"
  while systemctl is-active -q "$1"; do sleep 0.1; done
done
"""


def restarts(row: dict[str, Any]) -> tuple[int, str]:
    return row["restarts"], row["state"]


@pytest.mark.soak
def test_a_worker_that_exits_some_seconds_after_its_start_is_no_release(mixed: Any, tmp_path: Path) -> None:
    shop = shop_on(mixed, tmp_path, "puma")
    shop.apply()
    worker = {"count": 2, "command": "sleep 6; exit 1"}
    shop.manifest |= {"dynos": {"web": 2, "worker": worker}, "rollout": {"min_healthy_time": 10}}
    done = shop.apply(code=None)
    for name in mixed.names:
        assert f"Failed: {name}: check that worker" in done.stdout
    assert shop.ps().keys() == {"web.1", "web.2"}
    shop.manifest |= {"dynos": {"web": 2}}
    shop.destroy()


def test_a_bare_server_of_debian_13(mixed: Any, tmp_path: Path) -> None:
    """Its Ruby package has a version with an epoch and a rebuild, such as ``1:3.3+b1``."""
    (name,) = mixed.need_bare(1)
    shop = shop_on(mixed, tmp_path, "thin", name)
    shop.manifest |= {"dynos": {"web": 1}, "ruby": {"version": ">= 3.3"}}
    shop.apply()
    assert "web.1" in shop.get(shop.ps()["web.1"])
    shop.settled()
    shop.destroy()


@pytest.mark.soak
@pytest.mark.parametrize("server", ["thin", "puma", "unicorn"])
@pytest.mark.parametrize("starter", ["sinatra", "rails"])
def test_every_router_in_front_of_every_starter(mixed: Any, tmp_path: Path, starter: str, server: str) -> None:
    """The full matrix: one fleet of both releases, with a dyno and a router on each of its servers."""
    before = {name: snapshot(mixed, name) for name in mixed.names}
    shop = shop_on(mixed, tmp_path, server)
    if starter == "rails":
        shop = Project(
            tmp_path / "rails",
            mixed,
            "shop",
            STARTERS / "rails",
            **{key: shop.manifest[key] for key in ("app_server", "database", "cache")},
            framework={"name": "rails"},
            env={"SECRET_KEY_BASE": {"from_env": "KEY"}},
            release_command="bin/rails db:migrate",
            builder="grid-2",  # the older one, whose asset pipeline also its dynos need
        )
        shop.environment["KEY"] = secrets.token_hex(64)
        shop.manifest["app"]["build"] = ["SECRET_KEY_BASE=none bin/rails assets:precompile"]
    shop.environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")  # slugs that other fleets built are in the usual one
    try:
        for kind in ("nginx", "haproxy", "caddy"):
            shop.manifest["router"] = {"kind": kind, "servers": mixed.names, "listen": 8080}
            shop.apply()
            shop.settled()
            assert {row["server"] for row in shop.ps().values()} == set(mixed.names)
            for name in mixed.names:
                leads(mixed, name)
            routers = [{"dyno": name, "listen": mixed.address(name), "port": 8080} for name in mixed.names]
            with Load(routers, "/visits") as load:
                (shop.source / "CHANGED").write_text(f"behind {kind}\n")
                shop.apply()
            assert not load.failures, f"{kind}: {load}: {load.failures[:3]}"
            print(f"{starter} on {server} behind {kind}: {load}")
    finally:
        shop.destroy()
    assert {name: snapshot(mixed, name) for name in mixed.names} == before


def leads(fleet: Any, name: str) -> None:
    """The router of a server leads to the dynos of both."""
    seen: set[str] = set()

    def both() -> bool:
        seen.update(re.findall(r"web\.[12]", get(fleet.address(name), 8080)))
        return seen == {"web.1", "web.2"}

    eventually(both)
