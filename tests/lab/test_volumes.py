"""Volumes on real servers: what is in them outlives its dynos, and only their app reaches it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.lab.support import APPS, Project, changed, eventually

ON = "grid-1"
PLACE = "/var/lib/dynoctl-volumes/keeps/uploads"
UNITS = "/etc/systemd/system/var-lib-dynoctl\\\\x2dvolumes-*.mount"
CLEAN = (
    f'for unit in {UNITS}; do [ ! -e "$unit" ] || {{ systemctl stop "${{unit##*/}}" && rm "$unit"; }}; done; '
    "systemctl daemon-reload; rm -rf /var/lib/dynoctl-volumes; "
    "groupdel dyno-keeps 2>/dev/null; groupdel dyno-other 2>/dev/null; :"
)


def project(directory: Any, fleet: Any, name: str) -> Project:
    framework = {"name": "rack", "require": "./probe", "app": "Probe"}
    made = Project(directory, fleet, name, APPS / "probe", framework=framework)
    made.manifest["servers"] = made.manifest["servers"][:1]
    made.manifest["rollout"] = {"max_parallel": "100%"}
    made.manifest["volumes"] = [{"name": "uploads", "path": "public/uploads"}]
    return made


@pytest.fixture
def keeps(tmp_path: Any, fleet: Any) -> Iterator[Project]:
    made = project(tmp_path / "keeps", fleet, "keeps")
    yield made
    made.manifest["servers"] = fleet.inventory()["servers"][:2]
    made.destroy()
    for server in fleet.names[:2]:
        fleet.exec(server, "sh", "-c", CLEAN)


def test_uploads_outlive_every_dyno(keeps: Project, fleet: Any, tmp_path: Any) -> None:
    plan = keeps.dynoctl("plan").stdout
    assert "volume.keeps@uploads" in plan
    keeps.apply()
    keeps.settled()
    rows = keeps.ps()
    first, second = rows["web.1"], rows["web.2"]
    assert keeps.get(first, "/write?of=public/uploads/a.txt") == "written"
    assert keeps.get(second, "/read?of=public/uploads/a.txt") == "x", "one dyno reads what another wrote"
    assert keeps.get(second, "/write?of=public/uploads/a.txt") == "written", "and writes it"
    assert keeps.get(second, "/write?of=public/uploads/b.txt") == "written"
    assert keeps.get(first, "/write?of=public/b.txt") == "403 Errno::EROFS", "beside it all is read-only"
    assert fleet.exec(ON, "stat", "-c", "%a %U:%G", PLACE).stdout == "2770 root:dyno-keeps\n"
    assert fleet.exec(ON, "stat", "-c", "%a %G", f"{PLACE}/a.txt").stdout == "660 dyno-keeps\n"

    # A new release, another dyno type's place, a restart and a scale: the file is there.
    (keeps.source / "new").write_text("release 2")
    keeps.apply()
    keeps.dynoctl("restart")
    keeps.dynoctl("scale", "web=1", "--auto-approve")
    rows = keeps.ps()
    assert list(rows) == ["web.1"]
    assert keeps.get(rows["web.1"], "/read?of=public/uploads/a.txt") == "x"
    owner = fleet.exec(ON, "stat", "-c", "%U", f"{PLACE}/b.txt").stdout
    assert owner == "root\n", "web.2 made it, and its user is gone: nobody inherits the uid's files"
    assert keeps.get(rows["web.1"], "/write?of=public/uploads/b.txt") == "written", "its group may, whoever it was"
    keeps.dynoctl("scale", "web=2", "--auto-approve")
    assert keeps.get(keeps.ps()["web.2"], "/read?of=public/uploads/a.txt") == "x"

    # Another app's dynos find nothing of it.
    other = project(tmp_path / "other", fleet, "other")
    try:
        other.apply()
        row = other.ps()["web.1"]
        assert other.get(row, f"/read?of={PLACE}/a.txt") == "403 Errno::EACCES"
        assert other.get(row, "/list?of=public/uploads") == ""
    finally:
        other.destroy()

    # What was changed by hand is drift, and put back.
    fleet.exec(ON, "chmod", "0777", PLACE)
    assert "2770" in keeps.dynoctl("plan").stdout
    keeps.apply()
    keeps.settled()

    # A link to another disk is no drift, and a disk that is mounted there is waited for.
    fleet.exec(ON, "sh", "-ec", f"mv {PLACE} /srv/uploads; ln -s /srv/uploads {PLACE}")
    keeps.settled()
    mount = f"$(systemd-escape -p --suffix=mount {PLACE})"
    text = f"[Mount]\\nWhat=/srv/uploads\\nType=none\\nOptions=bind\\nWhere={PLACE}\\n"
    script = f"rm {PLACE}; mkdir {PLACE}; printf '{text}' > /run/systemd/system/{mount}; systemctl daemon-reload"
    fleet.exec(ON, "sh", "-ec", f"systemctl stop dyno-keeps-web-1.service; {script}")
    keeps.apply()
    assert keeps.get(keeps.ps()["web.1"], "/read?of=public/uploads/a.txt") == "x"
    script = f"systemctl stop {mount}; rm /run/systemd/system/{mount}; systemctl daemon-reload"
    fleet.exec(ON, "sh", "-ec", f"{script}; rmdir {PLACE}; mv /srv/uploads {PLACE}")
    keeps.apply()
    keeps.settled()

    done = keeps.dynoctl("destroy", "--auto-approve")
    assert f"{ON} keeps the volume uploads with its data: {PLACE}" in done.stdout + done.stderr
    assert fleet.exec(ON, "cat", f"{PLACE}/a.txt").stdout == "x"
    keeps.apply()
    assert keeps.get(keeps.ps()["web.1"], "/read?of=public/uploads/a.txt") == "x", "an app that comes back has it again"


def test_sqlite_is_written_by_every_process_of_the_app(keeps: Project, fleet: Any) -> None:
    """SQLite creates a file with mode 0644, which no umask makes writable for the other dynos."""
    keeps.manifest["volumes"] = [{"name": "storage", "path": "storage", "types": ["web", "job"]}]
    keeps.manifest["database"] = {"adapter": "sqlite", "path": "storage/db/app.sqlite3"}
    keeps.manifest["release_command"] = "ruby rows.rb && ruby rows.rb storage/by-release"
    keeps.manifest["schedule"] = [{"name": "job", "cron": "0 0 1 1 *", "command": "ruby rows.rb storage/by-job"}]
    done = keeps.apply()
    assert "wal 1" in done.stdout
    keeps.settled()
    rows = [row for dyno, row in keeps.ps().items() if dyno.startswith("web.")]
    files = ["db/app.sqlite3", "by-release", "by-job", "by-run"]
    fleet.exec(ON, "systemctl", "start", "dyno-keeps-job-1.service")
    assert "wal 1" in keeps.dynoctl("run", "--", "ruby", "rows.rb", "storage/by-run").stdout
    for file in files:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda n, file=file: keeps.get(rows[n % 2], f"/rows?of=storage/{file}"), range(8)))
        assert sorted(answers) == [f"wal {n}" for n in range(2, 10)], file
    place = PLACE.replace("uploads", "storage")
    modes = fleet.exec(ON, "sh", "-c", f"cd {place} && stat -c '%a %G' {' '.join(files)}").stdout
    assert modes.split("\n") == ["660 dyno-keeps"] * 4 + [""]

    # A process that has it open shares its -wal and its -shm, too.
    held = "require 'sqlite3'; d = SQLite3::Database.new('storage/db/app.sqlite3'); d.execute('INSERT INTO rows VALUES (99, 1)')"
    command = f"{held}; print File.stat('storage/db/app.sqlite3-shm').mode.to_s(8); $stdout.flush; gets"
    assert keeps.dynoctl("run", "--", "ruby", "-e", command, stdin="\n").stdout.startswith("100660")


def test_a_one_off_dyno_and_a_process_type_of_its_own(keeps: Project, fleet: Any) -> None:
    keeps.manifest["dynos"] = {"web": 1, "worker": {"count": 1, "command": "touch storage/from-worker; sleep infinity"}}
    keeps.manifest["volumes"] = [{"name": "storage", "path": "storage", "types": ["worker"]}]
    keeps.apply()
    path = PLACE.replace("uploads", "storage")
    assert fleet.exec(ON, "ls", path).stdout == "from-worker\n"
    assert keeps.get(keeps.ps()["web.1"], "/list?of=storage") == "", "web has an empty, read-only place there"
    keeps.manifest["volumes"] = []
    done = keeps.apply()
    assert f"{ON} keeps the volume storage with its data: {path}" in done.stdout + done.stderr
    assert fleet.exec(ON, "ls", path).stdout == "from-worker\n"


def test_a_volume_with_a_size_fills_up_alone(keeps: Project, fleet: Any) -> None:
    fill = "touch storage/from-worker; head -c 64M /dev/zero > storage/full; sleep infinity"
    keeps.manifest["dynos"] = {"web": 1, "worker": {"count": 1, "command": fill}}
    storage = {"name": "storage", "path": "storage", "types": ["worker"], "size": "16M"}
    keeps.manifest["volumes"] = [*keeps.manifest["volumes"], storage]
    path = PLACE.replace("uploads", "storage")
    assert "16 MiB" in keeps.dynoctl("plan").stdout
    keeps.apply()
    keeps.settled()
    eventually(lambda: "No space left on device" in keeps.dynoctl("logs", "--dyno", "worker.1").stdout)
    assert fleet.exec(ON, "stat", "-c", "%s %a %U", f"{path}.ext4").stdout == f"{16 << 20} 600 root\n"
    assert fleet.exec(ON, "stat", "-c", "%a %U:%G", path).stdout == "2770 root:dyno-keeps\n"
    options = fleet.exec(ON, "findmnt", "-no", "FSTYPE,OPTIONS", "--mountpoint", path).stdout
    assert options.startswith("ext4 ") and "nodev" in options and "nosuid" in options
    assert fleet.exec(ON, "ls", path).stdout == "from-worker\nfull\n", "what a file system has is not in the app's way"
    assert keeps.get(keeps.ps()["web.1"], "/write?of=public/uploads/a.txt") == "written", "the others have room"

    # What cannot be is said before anything changes.
    keeps.manifest["volumes"][0]["size"] = "1G"
    said = keeps.dynoctl("plan", code=1).stderr
    assert f"the volume uploads exists on {ON} without a size" in said and f"cp -a {PLACE}/. {PLACE}-2/" in said
    del keeps.manifest["volumes"][0]["size"]

    # It grows in place, or, where the kernel grows nothing that is mounted, once it is stopped.
    storage["size"] = "32M"
    done = keeps.apply(code=None)
    if done.returncode:
        assert "systemctl stop" in done.stdout + done.stderr
        fleet.exec(ON, "sh", "-c", "systemctl stop 'dyno-keeps-worker-1*'; " + f"umount {path}")
        keeps.apply()
    keeps.settled()
    assert int(fleet.exec(ON, "stat", "-f", "-c", "%b", path).stdout) > 20 << 8
    storage["size"] = "16M"
    said = keeps.dynoctl("plan", code=1).stderr
    assert f"the volume storage has 32M on {ON}, and cannot shrink to 16M" in said
    storage["size"] = "32M"

    # What was changed by hand is seen and put back, while the dyno has it still.
    fleet.exec(ON, "umount", "--lazy", path)
    assert "mounted" in keeps.dynoctl("plan", "--verbose").stdout
    keeps.apply()
    fleet.exec(ON, "mount", "-o", "remount,suid", path)
    assert "without nosuid" in keeps.dynoctl("plan", "--verbose").stdout
    keeps.apply()
    keeps.settled()
    with changed(fleet, ON, f"mv {path}.ext4 /srv/image", f"mv /srv/image {path}.ext4"):
        assert "the volume storage" in keeps.dynoctl("plan", code=1).stderr

    keeps.destroy()
    assert fleet.exec(ON, "ls", path).stdout == "from-worker\nfull\n"
    fleet.exec(ON, "umount", path)
    keeps.apply()
    assert fleet.exec(ON, "ls", path).stdout == "from-worker\nfull\n", "an app that comes back has it again"


def test_dynos_on_several_servers_are_refused(keeps: Project, fleet: Any) -> None:
    keeps.manifest["servers"] = fleet.inventory()["servers"][:2]
    done = keeps.dynoctl("plan", code=1)
    assert "the dynos of the volume uploads run on 2 servers" in done.stderr
    assert "web.1 on grid-" in done.stderr and "dyno.yaml:" in done.stderr
    done = keeps.dynoctl("apply", "--auto-approve", code=1)
    assert "and a volume is on one" in done.stderr and keeps.ps() == {}

    # One dyno has its place; it does not leave without its data.
    keeps.manifest["dynos"] = {"web": 1}
    keeps.apply()
    keeps.get(keeps.ps()["web.1"], "/write?of=public/uploads/a.txt")
    at = keeps.ps()["web.1"]["server"]
    other = next(name for name in ("grid-1", "grid-2") if name != at)
    for server in keeps.manifest["servers"]:
        server["drain"] = server["name"] == at
    done = keeps.dynoctl("plan", code=1)
    assert f"the data of the volume uploads is on {at}, and its dynos would run on {other}" in done.stderr
    assert f"rsync -a --mkpath {PLACE}/ " in done.stderr
    copy = f"umask 077; mkdir -p {PLACE}; groupadd --system dyno-keeps; chgrp dyno-keeps {PLACE}; chmod 2770 {PLACE}"
    fleet.exec(
        other, "sh", "-c", f"{copy}; printf y > {PLACE}/a.txt; chgrp dyno-keeps {PLACE}/a.txt; chmod 660 {PLACE}/a.txt"
    )
    keeps.apply()
    row = keeps.ps()["web.1"]
    assert row["server"] == other and keeps.get(row, "/read?of=public/uploads/a.txt") == "y"


def test_going_back_to_before_there_was_one(keeps: Project) -> None:
    wanted = keeps.manifest.pop("volumes")
    keeps.manifest["dynos"] = {"web": 1}
    keeps.apply()
    keeps.manifest["volumes"] = wanted
    keeps.apply()
    assert keeps.get(keeps.ps()["web.1"], "/write?of=public/uploads/a.txt") == "written"
    keeps.dynoctl("rollback", "--auto-approve")
    assert keeps.get(keeps.ps()["web.1"], "/read?of=public/uploads/a.txt") == "403 Errno::ENOENT"
    keeps.dynoctl("apply", "--auto-approve", "--over-rollback")
    assert keeps.get(keeps.ps()["web.1"], "/read?of=public/uploads/a.txt") == "x"
