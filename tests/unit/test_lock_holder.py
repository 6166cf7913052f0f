"""Who holds a lock, as a server says it and as it is read: the script runs in a real sh, with a real flock."""

from __future__ import annotations

import fcntl
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from infra.fleet.lock import Identity
from infra.model import lock_holder, paths
from infra.model.lock_holder import Holder
from infra.model.release import Release
from infra.ops.doctor import Report
from infra.ops.finding import Finding
from infra.views import doctor, releases, under_way
from infra.views.style import Style

IDENTITY = Identity("root@vm", "2026-11-28T17:30:00Z", 7, "applying v2")
NOW = datetime(2026, 11, 28, 20, 0, tzinfo=UTC)


def ask(run: Path) -> str:
    script = lock_holder.SCRIPT.replace(paths.RUN, str(run))
    done = subprocess.run(["sh", "-s"], input=f"app=shop\n{script}:\n", capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return lock_holder.read(done.stdout)


def test_the_holder_is_named_while_the_lock_is_held(tmp_path: Path) -> None:
    assert ask(tmp_path) == ""
    (tmp_path / "shop.lock.holder").write_text(f"{IDENTITY}\n")
    assert ask(tmp_path) == ""
    with (tmp_path / "shop.lock").open("w") as file:
        assert ask(tmp_path) == "", "the file was left behind by a holder that was killed"
        fcntl.flock(file, fcntl.LOCK_EX)
        assert ask(tmp_path) == str(IDENTITY)
    assert ask(tmp_path) == ""


def test_a_holder_is_a_sentence() -> None:
    holder = lock_holder.parse(str(IDENTITY))
    assert (holder.who, holder.when, holder.doing) == ("root@vm", "2026-11-28T17:30:00Z", "applying v2")
    assert holder.sentence(UTC, NOW) == "root@vm is applying v2 since 17:30 UTC"
    later = datetime(2026, 11, 30, tzinfo=UTC)
    assert holder.sentence(UTC, later) == "root@vm is applying v2 since 2026-11-28 17:30 UTC"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ann@desk since 2026-11-28T17:30:00Z (pid 7)", "ann@desk is applying since 17:30 UTC"),
        ("somebody since noon", "another apply is running: somebody since noon"),
        ("x since yesterday (pid 7)", "another apply is running: x since yesterday (pid 7)"),
    ],
)
def test_words_of_others_are_told_as_they_are(text: str, says: str) -> None:
    assert lock_holder.parse(text).sentence(UTC, NOW) == says


def test_the_time_is_that_of_the_reader() -> None:
    zone = timezone(timedelta(hours=1), "CET")
    assert lock_holder.words(str(IDENTITY), zone) == "root@vm since 2026-11-28 18:30 CET (pid 7), applying v2"
    assert lock_holder.words("somebody since noon", zone) == "somebody since noon"


def test_each_holder_is_named_once() -> None:
    assert lock_holder.holders(["", str(IDENTITY), str(IDENTITY)]) == (lock_holder.parse(str(IDENTITY)),)


def test_it_is_on_top_of_every_view() -> None:
    holder = lock_holder.parse(str(IDENTITY))
    words = under_way.sentences([holder])[0]
    assert words.startswith("root@vm is applying v2 since ")
    finding = Finding("grid-1", "ssh", "ok", "root@10.0.0.1")
    assert doctor.render(Report((finding,), (), (holder,)), Style(False)).startswith(words)
    assert under_way.text([Holder("\x1b[2J")], Style(False)) == "another apply is running: \\x1b[2J.\n"


def test_a_release_that_is_being_applied_is_not_unfinished() -> None:
    known = [Release(1, "a", "", "", result="unfinished"), Release(2, "b", "", "")]
    lines = releases.table(known, None, {}, Style(False), under_way=True).splitlines()
    assert "unfinished" in lines[1] and "in progress" in lines[2]
    assert "unfinished" in releases.table(known, None, {}, Style(False)).splitlines()[2]
