"""A dyno against its sandbox: what it cannot do, tried from inside by an app that tries it."""

from __future__ import annotations

import re
import secrets
import threading
import time
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest

from tests.lab.support import APPS, WAIT, Project, eventually, get, let_pass

FIRST, SECOND = (f"sandbox-{secrets.token_hex(8)}" for _ in range(2))
"""Two values of a secret. They are random: other tests use the same servers, and their words are in the same journal."""

PROBE = {"framework": {"name": "rack", "require": "./probe", "app": "Probe"}}


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory, fleet: Any) -> Any:
    directory = tmp_path_factory.mktemp("probe")
    project = Project(directory, fleet, "probe", APPS / "probe", **PROBE)
    project.manifest["servers"] = project.manifest["servers"][:1]
    project.manifest["dynos"] = {"web": 4}
    project.manifest["env"] = {"TOKEN": {"from_env": "PROBE_TOKEN"}}
    project.environment["PROBE_TOKEN"] = FIRST
    project.apply()
    yield project
    project.destroy()


@pytest.fixture(scope="module")
def neighbour(tmp_path_factory: pytest.TempPathFactory, fleet: Any) -> Any:
    project = Project(tmp_path_factory.mktemp("neighbour"), fleet, "neighbour", APPS / "probe", **PROBE)
    project.manifest["servers"] = project.manifest["servers"][:1]
    project.manifest["dynos"] = {"web": 1}
    project.apply()
    yield project
    project.destroy()


def tries(row: dict[str, Any], action: str, of: str = "") -> str:
    return get(row["listen"], row["port"], f"/{action}?of={quote(of)}")


def test_every_dyno_has_its_own_user(probe: Project, fleet: Any) -> None:
    rows = probe.ps()
    identities = {tries(row, "id").split()[1] for row in rows.values()}
    assert len(identities) == 4
    assert "0" not in identities
    passwd = fleet.exec("grid-1", "cat", "/etc/passwd").stdout
    assert (
        len(
            re.findall(
                r"^dyno-probe-web-\d:x:\d+:\d+:dynoctl probe web\.\d:/nonexistent:/usr/sbin/nologin$", passwd, re.M
            )
        )
        == 4
    )


def test_it_writes_nowhere_but_its_tmp(probe: Project) -> None:
    row = probe.ps()["web.1"]
    for path in (
        "/app/x",
        "/x",
        "/etc/x",
        "/var/tmp/../x",
        "/srv/x",
        "/run/x",
        "/home/x",
        "/usr/x",
        "/var/log/x",
        "/opt/x",
    ):
        assert tries(row, "write", path).startswith("403 Errno::"), path
    assert tries(row, "write", "/app/.dynoctl/config.ru") == "403 Errno::EROFS"
    assert tries(row, "write", "/tmp/x") == "written"
    other = probe.ps()["web.2"]
    assert tries(other, "read", "/tmp/x") == "403 Errno::ENOENT", "each dyno has a /tmp of its own"
    assert tries(row, "shm") == "probe"
    assert tries(other, "list", "/dev/shm") == "", "and a /dev/shm of its own"


def test_it_reads_nothing_of_others(probe: Project, neighbour: Project, fleet: Any) -> None:
    row = probe.ps()["web.1"]
    pid = probe.ps()["web.2"]["pid"]
    forbidden = [
        "/etc/dyno/probe/web.1.env",
        "/etc/dyno/probe/web.2.env",
        "/etc/dyno/neighbour/web.1.env",
        "/etc/shadow",
        f"/proc/{pid}/environ",
        "/proc/1/environ",
        f"/srv/dyno/neighbour/{neighbour.ps()['web.1']['slug']}/probe.rb",
        f"/srv/dyno/probe/{row['slug']}/probe.rb",
    ]
    for path in forbidden:
        assert tries(row, "read", path).startswith("403 Errno::"), path
    for path in ("/var/lib/dynoctl", "/etc/dyno", "/srv/dyno/neighbour", "/root", "/run/dynoctl"):
        assert tries(row, "list", path).startswith("403 Errno::"), path
    assert str(pid) not in tries(row, "processes").split()
    assert "class Probe" in tries(row, "read", "/app/probe.rb"), "the detector reads what may be read"
    # And from outside, as another user of the server: the files themselves are closed.
    for path in ("/etc/dyno/probe/web.1.env", "/var/lib/dynoctl/probe/meta.json", "/srv/dyno/probe"):
        done = fleet.exec("grid-1", "runuser", "-u", "deploy", "--", "ls", "-d", f"{path}/", check=False)
        assert done.returncode != 0, path


def test_it_kills_and_becomes_nobody_else(probe: Project) -> None:
    rows = probe.ps()
    assert tries(rows["web.1"], "kill", str(rows["web.2"]["pid"])) in ("403 Errno::EPERM", "403 Errno::ESRCH")
    assert tries(rows["web.1"], "setuid").startswith("403 Errno::")
    assert tries(rows["web.1"], "raw").startswith("403 Errno::")
    assert probe.ps()["web.2"]["pid"] == rows["web.2"]["pid"]


def test_its_environment(probe: Project) -> None:
    rows = probe.ps()
    wanted = {"TOKEN": FIRST, "DYNO": "web.3", "LANG": "C.UTF-8", "HOME": "/tmp", "RACK_ENV": "production"}
    assert {name: tries(rows["web.3"], "env", name) for name in wanted} == wanted
    assert tries(rows["web.3"], "env", "PORT") == str(rows["web.3"]["port"])


def leaked(text: str) -> bool:
    return FIRST in text or SECOND in text


def test_a_secret_is_in_the_env_file_and_the_release_and_nowhere_else(probe: Project, fleet: Any) -> None:
    probe.environment["PROBE_TOKEN"] = SECOND
    shown = [probe.dynoctl("plan", "--verbose"), probe.dynoctl("plan", "--json"), probe.apply(), probe.dynoctl("ps")]
    for done in shown:
        assert not leaked(done.stdout + done.stderr)
    assert "(sensitive)" in shown[0].stdout
    found = fleet.exec("grid-1", "grep", "-rlsF", SECOND, "/etc", "/var", "/run", "/srv", "/tmp", check=False).stdout
    body = [path for path in found.split() if path.startswith("/var/lib/dynoctl/probe/releases/")]
    assert len(body) == 1 and body[0].endswith(".body"), "what the release would need to come back"
    assert set(found.split()) == {*body, *(f"/etc/dyno/probe/web.{number}.env" for number in (1, 2, 3, 4))}
    assert fleet.exec("grid-1", "stat", "-c", "%a %U", *body).stdout == "600 root\n"
    journal = fleet.exec("grid-1", "journalctl", "--no-pager", "--namespace=*").stdout
    assert "dyno-probe-web-1" in journal
    assert not leaked(journal)
    lines = fleet.exec("grid-1", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
    assert not leaked(lines)


def test_the_security_score(probe: Project, fleet: Any) -> None:
    for number in (1, 2, 3, 4):
        text = fleet.exec(
            "grid-1", "systemd-analyze", "security", "--no-pager", f"dyno-probe-web-{number}.service"
        ).stdout
        score = re.search(r"exposure level .*: ([\d.]+)", text)
        assert score is not None
        assert float(score[1]) <= 1.2, text


def test_four_dynos_under_load_use_one_core_and_no_more(probe: Project, fleet: Any) -> None:
    rows = probe.ps()
    over = threading.Event()

    def spin(row: dict[str, Any]) -> None:
        while not over.is_set():
            tries(row, "spin", "2")

    threads = [threading.Thread(target=spin, args=(row,), daemon=True) for row in rows.values()]

    def each() -> list[float]:
        pids = [str(row["pid"]) for row in rows.values()]
        text = fleet.exec("grid-1", "cat", *(f"/proc/{pid}/stat" for pid in pids)).stdout
        ticks = [line.rpartition(")")[2].split() for line in text.splitlines()]
        return [(int(words[11]) + int(words[12])) / 100 for words in ticks]

    idle = each()
    for thread in threads:
        thread.start()
    # More than they may use in a period: what they had left of it is used up.
    eventually(lambda: all(now - then > 0.1 for now, then in zip(each(), idle, strict=True)))

    units = [f"dyno-probe-web-{number}.service" for number in (1, 2, 3, 4)]
    shares = fleet.exec("grid-1", "systemctl", "show", "-p", "CPUQuotaPerSecUSec", "--value", *units).stdout.split()
    assert shares == ["250ms"] * 4, "together they may have one core"

    start, before = time.monotonic(), sum(each())
    let_pass(3, "their use is measured over these seconds")
    after, end = sum(each()), time.monotonic()
    share = (after - before) / (end - start)
    over.set()
    for thread in threads:
        thread.join(WAIT)
    # What else this machine does may keep them from a whole core, and nothing lets them have more.
    assert 0 < share <= 1.06, f"{share:.2f} cores"


def test_a_dyno_that_crashes_comes_back_with_its_share(probe: Project, fleet: Any) -> None:
    row = probe.ps()["web.4"]
    with suppress(OSError):  # it may be gone before it has answered
        tries(row, "exit")
    back = eventually(lambda: (now := probe.ps()["web.4"])["state"] == "up" and now["pid"] != row["pid"] and now)
    assert back["restarts"] == 1
    quota = fleet.exec("grid-1", "systemctl", "show", "-p", "CPUQuotaPerSecUSec", "--value", "dyno-probe-web-4").stdout
    assert quota.strip() == "250ms"
    probe.settled()
