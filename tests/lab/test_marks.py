"""What has lost its mark, or never got one: power cuts, hands and busy files leave nothing that a plan does not see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.support import APPS, Project, eventually, snapshot

ON = "grid-1"
UNITS = "/etc/systemd/system"
OTHER = "f" * 64
"""A digest that no release has."""

LEFT = (
    f"{UNITS}/dyno-marks-web-1.service.dynoctl-new",
    f"{UNITS}/dyno-marks-web-7.socket.d/x.conf",
    "/etc/dyno/marks/web.1.env.new",
    "/etc/dyno/marks/web.7.env.dynoctl-new",
    f"/var/lib/dynoctl/marks/slugs/{OTHER}.squashfs.4711.new",
    f"/var/lib/dynoctl/marks/slugs/{'e' * 64}.squashfs",
    f"/srv/dyno/marks/{OTHER}/written",
    "/etc/dynoctl/router/incoming/tls.key",
)
"""Temporary files of a power cut or a full disk, and what was written where a slug is to be mounted."""

STRANGERS = ("/etc/dyno/marks/notes.new", f"{UNITS}/dyno-marks-admin.service.new", "/srv/dyno/marks/notes")
"""What others put beside it stays."""


@pytest.fixture
def app(tmp_path: Path, fleet: Any) -> Iterator[Project]:
    framework = {"name": "rack", "require": "./probe", "app": "Probe"}
    project = Project(tmp_path, fleet, "marks", APPS / "probe", framework=framework)
    project.manifest |= {
        "servers": project.manifest["servers"][:1],
        "schedule": [{"name": "nightly", "cron": "0 3 * * *", "command": "true"}],
        "router": {"kind": "nginx", "servers": [ON], "listen": 8089},
        "rollout": {"max_parallel": "100%"},
    }
    yield project
    project.destroy()


def run(fleet: Any, script: str, check: bool = True) -> str:
    return str(fleet.exec(ON, "sh", "-ec", script, check=check).stdout)


def leave(fleet: Any) -> None:
    """Everything that an apply may leave when it is cut off, and hands leave that help."""
    for path in (*LEFT, *STRANGERS):
        run(fleet, f"mkdir -p {path.rpartition('/')[0]}; echo x > {path}")
    run(
        fleet,
        f"""
        groupadd --system dyno-marks-web-9
        ln -sfn {UNITS}/dyno-marks-web-8.service {UNITS}/multi-user.target.wants/dyno-marks-web-8.service
        truncate -s 8192 /var/lib/dynoctl/marks/slugs/{"e" * 64}.squashfs
        losetup -f /var/lib/dynoctl/marks/slugs/{"e" * 64}.squashfs
        cd {UNITS}; printf '[Service]\nExecStart=/bin/sleep infinity\n' > dyno-marks-web-6.service
        systemctl daemon-reload; systemctl start dyno-marks-web-6; rm dyno-marks-web-6.service; systemctl daemon-reload
        touch -d '1 hour ago' /run/dynoctl/marks.lock.beat.old
        """,
    )


def left(fleet: Any) -> list[str]:
    """What of it is there."""
    found = [path for path in LEFT if fleet.exec(ON, "test", "-e", path, check=False).returncode == 0]
    return (
        found
        + run(
            fleet,
            """
        getent group dyno-marks-web-9 | cut -d: -f1
        ls -d /etc/systemd/system/*.wants/dyno-marks-web-8* 2>/dev/null || :
        losetup -ln -O BACK-FILE | grep /marks/slugs/eeee || :
        ls /run/dynoctl/marks.lock.beat.old 2>/dev/null || :
        ! systemctl -q is-active dyno-marks-web-6 || echo dyno-marks-web-6
        """,
            check=False,
        ).split()
    )


def damage(fleet: Any, slug: str) -> None:
    """What a power cut leaves of files that were not on the disk yet, and what a hand does to a user of a dyno that runs."""
    run(
        fleet,
        f"""
        cd {UNITS}
        : > dyno-marks-web-1.service
        ln -sfn /dev/null dyno-marks-web-2.service
        : > dyno-marks-web-1-ready.service
        : > dyno-marks-web-2.socket
        : > dyno-marks-nightly-1.service
        systemctl daemon-reload
        : > srv-dyno-marks-{slug}.mount
        sed -i '/^dyno-marks-web-1:/s,/nonexistent,/home/x,' /etc/passwd
        truncate -s 100 /var/lib/dynoctl/marks/slugs/{slug}.squashfs
        """,
    )


def test_what_was_cut_off_is_seen_mended_and_removed(app: Project, fleet: Any) -> None:
    before = snapshot(fleet, ON)
    app.apply()
    app.settled()
    (slug,) = run(fleet, "ls /srv/dyno/marks").split()
    rows = app.ps()

    damage(fleet, slug)
    leave(fleet)
    text = app.dynoctl("plan").stdout
    assert "damaged on the server" in text and "left by an apply that was cut off" in text
    app.apply()
    app.settled()
    assert left(fleet) == []
    assert all("probe" in eventually(lambda row=row: app.get(row)) for row in app.ps().values() if row["port"])
    assert [row["port"] for row in app.ps().values()] == [row["port"] for row in rows.values()], "each keeps its port"
    for path in STRANGERS:
        run(fleet, f"rm {path}")

    # Linked, and not loaded: the process serves what it loaded last.
    run(fleet, "cd /etc/dynoctl/router; cp -a $(readlink live) gen.other; ln -sfn gen.other live")
    assert "outdated" in app.dynoctl("plan").stdout
    app.apply()
    app.settled()

    # Somebody's shell is in the slug, and its unit was emptied: the mark stays until it is unmounted.
    run(fleet, f"systemd-run --quiet --unit squat --working-directory /srv/dyno/marks/{slug} sleep infinity")
    damage(fleet, slug)
    leave(fleet)
    for _ in range(2):
        done = app.dynoctl("destroy", "--auto-approve", code=1)
        assert "target is busy" in done.stdout and "(sleep)" in done.stdout
    run(fleet, "systemctl stop squat")
    run(fleet, f"umount /srv/dyno/marks/{slug}; echo x > /srv/dyno/marks/{slug}/written; touch /app/notes")
    text = app.dynoctl("destroy", "--auto-approve").stdout
    for path in ("/app", "/srv/dyno/marks", "/etc/dyno/marks"):
        assert re.search(f"^Note: kept on {ON}: {path}, with 1 file that dynoctl did not create: notes", text, re.M)
    run(fleet, f"rm /app/notes {' '.join(STRANGERS)}")
    app.destroy()
    assert snapshot(fleet, ON) == before
    assert left(fleet) == []


def test_what_is_set_on_the_slice_is_drift_and_goes(app: Project, fleet: Any) -> None:
    """Limits on the slice of all dynos of an app were seen by no plan, and outlived the app."""
    del app.manifest["router"]
    app.apply()
    shared = f"{UNITS}/dyno-.slice.d"
    run(
        fleet,
        f"""
        systemctl set-property dyno-marks.slice TasksMax=77
        mkdir -p {shared}; printf '[Slice]\nCPUQuota=10%%\n' > {shared}/x.conf; systemctl daemon-reload
        """,
    )
    try:
        assert (
            "slice.marks  # drift: changed on the server since the last apply: drop_ins" in app.dynoctl("drift").stdout
        )
        app.apply()
        app.settled()
        shown = run(fleet, "systemctl show -p TasksMax,CPUQuotaPerSecUSec --value dyno-marks.slice").split()
        assert shown == ["infinity", "infinity"]
        app.destroy()
        assert run(fleet, f"ls -d {UNITS}*/dyno-marks* {UNITS}.control 2>/dev/null || :") == ""
        assert "No changes" in app.dynoctl("destroy", "--auto-approve").stdout, "what others share is not planned again"
    finally:
        run(fleet, f"rm -r {shared}; systemctl daemon-reload")
