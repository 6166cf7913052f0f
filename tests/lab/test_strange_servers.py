"""Servers as they are: an app and its router run on one that is set up in every strange way that works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.lab.setups import SERVER, findings, link, project, sshd
from tests.lab.support import Project, changed, get

KINDS = ["nginx", *(pytest.param(kind, marks=pytest.mark.soak) for kind in ("haproxy", "caddy"))]

STRANGE: dict[str, tuple[str, str]] = {
    "sshd has one session per connection": sshd("MaxSessions 1"),
    "/srv is a link": link("/srv"),
    "/tmp is a link to a directory on the disk": (
        "umount -l /tmp || :; mkdir -p -m 1777 /var/real-tmp; rmdir /tmp; ln -s /var/real-tmp /tmp",
        "rm /tmp; mkdir -m 1777 /tmp; mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /tmp; rm -rf /var/real-tmp",
    ),
    "/home is a link": link("/home"),
    "/var/lib is a link": link("/var/lib"),
    "no /run/lock": (
        "umount -l /run/lock || :; rmdir /run/lock",
        "mkdir -m 1777 /run/lock; mount -t tmpfs -o mode=1777,size=5m tmpfs /run/lock",
    ),
    "/usr is read-only": ("mount --bind /usr /usr; mount -o remount,bind,ro /usr", "umount -l /usr"),
    "another zone": (
        "cp -a /etc/localtime /root/zone; ln -sfn /usr/share/zoneinfo/Asia/Kathmandu /etc/localtime",
        "rm /etc/localtime; mv /root/zone /etc/localtime",
    ),
    "systemd in Turkish": (
        "systemctl set-environment LANG=tr_TR.UTF-8 LC_ALL=tr_TR.UTF-8 LANGUAGE=tr LC_TIME=tr_TR.UTF-8",
        "systemctl unset-environment LANG LC_ALL LANGUAGE LC_TIME",
    ),
    "a login that prints and reads": (
        "cp /root/.bashrc /root/bashrc.kept; printf 'echo hello\\nread answer\\n' > /root/.bashrc",
        "mv /root/bashrc.kept /root/.bashrc",
    ),
    "/var/lib/dynoctl is a link": (
        "mkdir /var/real-dynoctl; ln -s /var/real-dynoctl /var/lib/dynoctl",
        "rm /var/lib/dynoctl; rm -r /var/real-dynoctl",
    ),
    "no own name": ("cp /etc/hosts /root/hosts; sed -i 's/ grid-1\\b//' /etc/hosts", "cat /root/hosts > /etc/hosts"),
}
"""What an app must run on, all at once."""


@pytest.fixture(scope="module")
def strange(fleet: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """An app with a router on a server that has all strange set-ups."""
    app = project(tmp_path_factory.mktemp("strange"), fleet, "strange-app")
    app.manifest["router"] = {"kind": "nginx", "servers": [SERVER], "listen": 8088}
    app.manifest["env"] = {"LC_TIME": "de_DE.UTF-8"}
    with ExitStack() as stack:
        for do, undo in STRANGE.values():
            stack.enter_context(changed(fleet, SERVER, do, undo))
        app.apply()
        yield app
        app.destroy()
        left = "ls -d /srv/dyno /etc/systemd/system/*dyno* /var/lib/dynoctl/* /etc/dynoctl 2>/dev/null; :"
        assert fleet.exec(SERVER, "sh", "-c", left).stdout == ""


def test_an_app_runs_on_a_strange_server(strange: Project, fleet: Any) -> None:
    strange.settled()
    row = strange.ps()["web.1"]
    assert row["state"] == "up"
    assert get(fleet.address(SERVER), 8088)
    locale = {name: strange.get(row, f"/env?of={name}") for name in ("LANG", "LC_ALL", "LANGUAGE", "LC_TIME")}
    assert locale == {"LANG": "C.UTF-8", "LC_ALL": "(unset)", "LANGUAGE": "(unset)", "LC_TIME": "de_DE.UTF-8"}
    mounts = fleet.exec(SERVER, "systemctl", "list-units", "--plain", "--no-legend", "-t", "mount").stdout
    assert "var-real\\x2dsrv-dyno-strange\\x2dapp-" in mounts


@pytest.mark.parametrize("kind", KINDS)
def test_a_router_reloads_on_a_strange_server(strange: Project, fleet: Any, kind: str) -> None:
    for hosts in (["one.example"], ["two.example"]):
        strange.manifest["router"] |= {"kind": kind, "hosts": hosts}
        strange.apply()
    strange.settled()


def test_doctor_describes_a_strange_server(strange: Project) -> None:
    found = findings(strange, 0)
    assert found["sshd"]["result"] == "warning" and "MaxSessions 1" in found["sshd"]["says"]
    assert "/srv -> /var/real-srv" in found["links"]["says"] and "/tmp -> " in found["links"]["says"]
    assert "/usr is read-only" in found["packages"]["says"] and found["packages"]["result"] == "ok"
    assert found["clock"]["says"] == "in sync" and found["root"]["result"] == "ok"
