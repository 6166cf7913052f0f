"""``dynoctl doctor`` on real servers: all is well, or each fault with its cure, whatever else is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.lab.support import APPS, AWAY_AFTER, Project, changed, snapshot


@pytest.fixture
def app(tmp_path: Path, fleet: Any) -> Iterator[Project]:
    framework = {"name": "rack", "require": "./probe", "app": "Probe"}
    project = Project(tmp_path, fleet, "patient", APPS / "probe", framework=framework)
    project.manifest["database"] = {"adapter": "postgresql", "url": {"from_env": "DATABASE_URL"}}
    project.manifest["cache"] = {"adapter": "redis", "url": {"from_env": "CACHE_URL"}}
    project.environment |= {"DATABASE_URL": fleet.url("database_url"), "CACHE_URL": fleet.url("cache_url")}
    project.manifest["ssh"]["connect_timeout"] = AWAY_AFTER
    yield project


def findings(app: Project, code: int) -> dict[tuple[str, str], dict[str, str]]:
    """By server and check; of several the worst."""
    document = json.loads(app.dynoctl("doctor", "--json", code=code).stdout)
    assert document["ok"] == (code == 0)
    order = ["ok", "warning", "failed"]
    found: dict[tuple[str, str], dict[str, str]] = {}
    for finding in document["findings"]:
        key = (finding["server"], finding["check"])
        if key not in found or order.index(finding["result"]) > order.index(found[key]["result"]):
            found[key] = finding
    return found


def test_all_is_well_and_nothing_is_changed(app: Project, fleet: Any) -> None:
    before = {name: snapshot(fleet, name) for name in fleet.names}
    text = app.dynoctl("doctor").stdout
    assert text.endswith("all passed.\n")
    for line in (
        "here\n",
        "grid-1\n",
        "ok       ssh",
        "ok       root",
        "ok       slugs",
        "ok       ports",
        "login succeeded",
    ):
        assert line in text, text
    assert "SHA256:" in text
    found = findings(app, 0)
    checks = {check for server, check in found if server == "grid-2"}
    assert checks == {
        "ssh",
        "root",
        "systemd",
        "limits",
        "slugs",
        "ruby",
        "disk",
        "clock",
        "memory",
        "log",
        "sshd",
        "ports",
        "database",
        "cache",
    }
    assert found[("fleet", "dynos")]["says"] == "2 of 2 dynos placed"
    assert {name: snapshot(fleet, name) for name in fleet.names} == before


def test_everything_is_wrong_at_once(app: Project, fleet: Any) -> None:
    port = int(fleet.url("cache_url").rpartition(":")[2].partition("/")[0]) + 1
    app.environment["CACHE_URL"] = f"redis://{fleet.address('data')}:{port}/0"
    app.environment["DATABASE_URL"] = app.environment["DATABASE_URL"].replace("://", "://x", 1)
    app.manifest["ssh"]["user"] = "deploy"
    clock = 'printf \'#!/bin/sh\\n/usr/bin/date -d "+90 seconds" "$@"\\n\' > /usr/local/sbin/date; chmod 755 /usr/local/sbin/date'
    squeeze = "mkdir -p /srv && mount -t tmpfs -o size=100M tmpfs /srv"
    ruby = "mv /usr/bin/ruby /usr/bin/ruby.gone"
    with ExitStack() as stack:
        for server, do, undo in (
            ("grid-1", clock, "rm /usr/local/sbin/date"),
            ("grid-1", squeeze, "umount /srv"),
            ("grid-2", "mv /etc/sudoers.d/deploy /root/", "mv /root/deploy /etc/sudoers.d/"),
            ("grid-3", ruby, "mv /usr/bin/ruby.gone /usr/bin/ruby"),
        ):
            stack.enter_context(changed(fleet, server, do, undo))
        app.manifest["packages"] = "manual"
        app.manifest["dynos"]["web"] = 400
        found = findings(app, 4)
        text = app.dynoctl("doctor", code=4).stdout
    bad = {key: one for key, one in found.items() if one["result"] != "ok"}
    assert "ahead of the local clock" in bad[("grid-1", "clock")]["says"]
    assert "timesyncd" in bad[("grid-1", "clock")]["cure"]
    assert bad[("grid-1", "disk")]["result"] == "failed" and "/srv has" in bad[("grid-1", "disk")]["says"]
    assert bad[("grid-1", "database")]["result"] == "failed"
    assert bad[("grid-1", "cache")]["result"] == "failed" and "firewall" in bad[("grid-1", "cache")]["cure"]
    assert "cannot become root without a password" in bad[("grid-2", "root")]["says"]
    assert "sudoers" in bad[("grid-2", "root")]["cure"]
    assert found[("grid-2", "ssh")]["result"] == "ok" and ("grid-2", "disk") not in found
    assert "no MRI Ruby found" in bad[("grid-3", "ruby")]["says"]
    assert "of 400 dynos placed" in bad[("fleet", "dynos")]["says"]
    assert "failed   clock" in text and " failed" in text.splitlines()[-1]


def test_hosts_that_are_away_and_keys_that_are_strange(app: Project, fleet: Any, tmp_path: Path) -> None:
    lines = Path(fleet.known_hosts).read_text().splitlines()
    (tmp_path / "known").write_text("\n".join(line for line in lines if fleet.address("grid-2") not in line) + "\n")
    app.manifest["ssh"]["known_hosts"] = str(tmp_path / "known")
    del app.environment["DATABASE_URL"]
    fleet.cut("grid-3")
    try:
        found = findings(app, 4)
    finally:
        fleet.restore("grid-3")
    assert "unknown host key" in found[("grid-2", "ssh")]["says"]
    assert "timed out" in found[("grid-3", "ssh")]["says"]
    assert "DATABASE_URL is not set" in found[("here", "secrets")]["says"]
    assert found[("grid-1", "ports")]["result"] == "ok"
    app.environment["PATH"] = "/nonexistent"
    assert "mksquashfs" in findings(app, 4)[("here", "app")]["says"]
    del app.environment["PATH"]
    # A machine that was cloned.
    app.manifest |= fleet.inventory()
    machine = fleet.exec("grid-1", "cat", "/etc/machine-id").stdout.strip()
    do = f"cp /etc/machine-id /root/; echo {machine} > /etc/machine-id"
    with changed(fleet, "grid-2", do, "cat /root/machine-id > /etc/machine-id"):
        assert "grid-2 and grid-1 are the same machine" in app.dynoctl("doctor", code=1).stdout
