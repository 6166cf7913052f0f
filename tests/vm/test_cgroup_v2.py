"""What dynoctl promises of memory and CPU, on a kernel of its own with cgroup v2. The tests are one life, in this order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.errors import REJECTED
from tests.lab.support import DEADLINE, Project, eventually, snapshot
from tests.vm.guest import NAME, Guest

APP = "hungry"
WEB = ("web.1", "web.2")

LIMIT = 96
"""MiB. A dyno of this app uses about 40."""

OUT_OF_MEMORY = f"out of memory: killed at the memory limit of {LIMIT} MiB (dynos.web.memory: {LIMIT}M)"

SLOW = 600
"""Seconds that a dyno may take to become healthy, and to be restarted."""


class SlowProject(Project):
    deadline = 3 * DEADLINE


class Life:
    """The app, and what was on the guest before it."""

    def __init__(self, directory: Path, guest: Guest) -> None:
        self.guest = guest
        self.before = snapshot(guest, NAME)
        self.project = SlowProject(
            directory,
            guest,
            APP,
            Path(__file__).parent / "app",
            framework={"name": "rack", "require": "./hungry", "app": "Hungry"},
            dynos={"web": {"count": 2, "memory": f"{LIMIT}M"}},
            rollout={"healthy_deadline": SLOW, "health": {"path": "/", "timeout": 60}},
        )

    @contextmanager
    def env(self, **variables: str) -> Iterator[None]:
        """The app has these config vars for as long as this lasts."""
        self.project.manifest["env"] = variables
        try:
            yield
        finally:
            del self.project.manifest["env"]

    def answers(self) -> dict[str, str]:
        """What each dyno answers."""
        return {name: self.get(row) for name, row in self.project.ps().items()}

    def get(self, row: dict[str, Any], path: str = "/") -> str:
        """The answer of a dyno to one request, from inside of the guest; "" if there is none."""
        url = f"http://{row['listen']}:{row['port']}{path}"
        return str(self.guest.exec(NAME, "curl", "-sS", "--max-time", "60", url, check=False).stdout)

    def children(self, pid: int) -> set[str]:
        """The child processes of a process."""
        return set(self.guest.exec(NAME, "cat", f"/proc/{pid}/task/{pid}/children", check=False).stdout.split())

    def group(self, dyno: str, file: str) -> str:
        """What a file of the control group of a dyno says."""
        unit = f"dyno-{APP}-{dyno.replace('.', '-')}.service"
        return str(
            self.guest.exec(NAME, "cat", f"/sys/fs/cgroup/dyno.slice/dyno-{APP}.slice/{unit}/{file}").stdout
        ).strip()


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, guest: Guest) -> Life:
    """It ends with the guest."""
    return Life(tmp_path_factory.mktemp("life"), guest)


def test_the_kernel_is_the_guests_and_has_cgroup_v2(guest: Guest) -> None:
    assert guest.exec(NAME, "stat", "-fc", "%T", "/sys/fs/cgroup").stdout == "cgroup2fs\n"
    assert "-cloud-" in guest.exec(NAME, "uname", "-r").stdout


def test_apply(life: Life) -> None:
    plan = life.project.plan()
    assert plan["summary"]["start"] == 2 and plan["summary"]["destroy"] == 0
    life.project.apply()
    assert life.answers() == {name: f"{name} one" for name in WEB}
    life.project.settled()
    for name in WEB:
        assert life.group(name, "memory.max") == str(LIMIT << 20)
        assert life.group(name, "cpu.max") == "25000 100000"


def test_ps_shows_the_memory_that_the_kernel_counts(life: Life) -> None:
    rows = life.project.ps()
    for name in WEB:
        counted = int(life.group(name, "memory.current"))
        assert 10 << 20 < counted < LIMIT << 20
        assert abs(rows[name]["memory"] - counted) < 4 << 20
        assert rows[name]["memory_max"] == LIMIT << 20
    assert life.project.dynoctl("ps").stdout.count(f" of {LIMIT} MiB") == 2


def test_a_one_off_dyno_beyond_its_limit_ends_with_137(life: Life) -> None:
    assert life.project.dynoctl("run", "ruby", "-e", "puts 'x' * 9").stdout == "xxxxxxxxx\n"
    done = life.project.dynoctl("run", "ruby", "-e", "'x' * (1 << 30)", code=137)
    assert done.stdout == "" and "Killed" in done.stderr


def test_a_dyno_beyond_its_limit_is_killed_and_restarted(life: Life) -> None:
    before = life.project.ps()
    assert life.get(before["web.1"], "/eat") == ""
    eventually(lambda: life.get(before["web.1"]) == "web.1 one", SLOW)
    after = life.project.ps()
    assert (after["web.1"]["restarts"], after["web.2"]["restarts"]) == (1, 0)
    assert after["web.1"]["pid"] != before["web.1"]["pid"] and after["web.2"]["pid"] == before["web.2"]["pid"]
    log = life.project.dynoctl("logs", "--dyno", "web.1").stdout
    assert "systemd[web.1]" in log and "oom-kill" in log
    eventually(lambda: life.project.ps()["web.1"]["state"] == "up", SLOW)
    life.project.settled()


def test_a_candidate_beyond_its_limit_is_rejected_and_the_report_says_why(life: Life) -> None:
    with life.env(EAT="boot"):
        said = life.project.apply(REJECTED).stdout
    assert f"its candidate did not become healthy on {NAME}\n  | {OUT_OF_MEMORY}\n" in said
    assert life.answers() == {name: f"{name} one" for name in WEB}


def test_a_rollout_beyond_its_limit_is_reverted_and_the_report_says_why(life: Life) -> None:
    with life.env(EAT="dynos"):
        said = life.project.apply(REJECTED).stdout
    assert re.search(rf"^Failed: {NAME}: restart web\.1: .*\n  \| {re.escape(OUT_OF_MEMORY)}\n", said, re.MULTILINE)
    assert "Reverted to what ran before: web.1.\n" in said
    assert life.answers() == {name: f"{name} one" for name in WEB}
    life.project.settled()


def test_a_new_limit_reaches_the_kernel(life: Life) -> None:
    life.project.manifest["dynos"]["web"]["memory"] = f"{2 * LIMIT}M"
    life.project.apply()
    assert [life.group(name, "memory.max") for name in WEB] == [str(2 * LIMIT << 20)] * 2
    assert {row["memory_max"] for row in life.project.ps().values()} == {2 * LIMIT << 20}
    life.project.settled()


def test_a_worker_beyond_the_limit_is_replaced_and_its_dyno_runs_on(life: Life) -> None:
    life.project.manifest["app_server"] = {"name": "puma", "options": {"workers": 2}}
    life.project.manifest["dynos"]["web"]["memory"] = f"{2 * LIMIT}M"
    life.project.apply()
    before = life.project.ps()["web.1"]
    workers = life.children(before["pid"])
    assert len(workers) == 2 and life.get(before, "/eat") == ""

    def replaced() -> bool:
        now = life.children(before["pid"])
        return len(now) == 2 and len(now & workers) == 1 and life.get(before) == "web.1 one"

    eventually(replaced, SLOW)
    after = life.project.ps()["web.1"]
    assert (after["pid"], after["restarts"], after["state"]) == (before["pid"], 0, "up")
    assert "oom_kill 1" in life.group("web.1", "memory.events").splitlines()
    assert "killed by the OOM killer" in life.project.dynoctl("logs", "--dyno", "web.1").stdout
    life.project.settled()
    del life.project.manifest["app_server"]


def test_a_new_release_is_rolled_out(life: Life) -> None:
    before = life.project.ps()
    file = life.project.source / "hungry.rb"
    file.write_text(file.read_text().replace('RELEASE = "one"', 'RELEASE = "two"'))
    life.project.apply()
    assert life.answers() == {name: f"{name} two" for name in WEB}
    after = life.project.ps()
    assert all(after[name]["release"] > before[name]["release"] for name in WEB)
    life.project.settled()


def test_destroy_leaves_nothing(life: Life) -> None:
    assert snapshot(life.guest, NAME) != life.before
    life.project.destroy()
    assert snapshot(life.guest, NAME) == life.before
