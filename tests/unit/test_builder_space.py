"""The space of builds on a server: all that run at the same time share what is free, whatever each of them writes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from infra.remote import quote

MIB = 1 << 20


class Builder:
    """A server on which builds run, with programs that only say what they would do; its sizes are in MiB."""

    def __init__(self, directory: Path, free: int) -> None:
        self.run, self._programs = directory / "run", directory / "programs"
        self.run.mkdir()
        self._programs.mkdir()
        self._program("stat", f'case $* in *var/tmp*) echo {free} {MIB};; *) cat "${{4%/tmp}}/stat";; esac')
        self._program("truncate", f'echo "$2" >> {directory}/rooms')
        self._program("mount", 'for last; do :; done; echo "0 0 1" > "${last%/tmp}/stat"')
        self._program("umount", "[ -d $1 ] && rm -f ${1%/tmp}/stat && rmdir $1")
        self._program("systemctl", "case $1 in --version) echo systemd 252;; esac")
        self._program("systemd-run", 'echo "systemd-run $*" >&2')
        for name in ("mkfs.ext4", "mktemp", "mountpoint"):
            self._program(name, "")
        self._rooms = directory / "rooms"

    def _program(self, name: str, text: str) -> None:
        (self._programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (self._programs / name).chmod(0o755)

    def other(self, pid: int, size: int, used: int) -> None:
        """Another build, whose file system of ``size`` has ``used`` of them written."""
        scratch = self.run / f"dynoctl-build.{pid}"
        (scratch / "tmp").mkdir(parents=True)
        (scratch / "stat").write_text(f"{size} {size - used} {MIB}\n")

    def build(self, code: int = 0) -> str:
        script = quote.building(("true",), {}, "", 10, "ready")
        script = script.replace("/run/", f"{self.run}/").replace("PATH=/usr/local/sbin:", f"PATH={self._programs}:")
        script = script.replace("flock -w 60", "flock -w 1")
        done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr

    @property
    def room(self) -> str:
        """What the last build may write."""
        return self._rooms.read_text().split()[-1]


@pytest.fixture
def other() -> int:
    """The pid of a process that runs as long as the test."""
    return os.getpid()


def test_a_build_alone_may_write_half_of_what_is_free(tmp_path: Path) -> None:
    builder = Builder(tmp_path, 1000)
    builder.build()
    assert builder.room == "500M"
    assert [path.name for path in builder.run.iterdir()] == ["dynoctl-builds.lock"], (
        "nothing of it is left but the lock"
    )


def test_a_second_build_may_not_write_what_the_first_one_still_may(tmp_path: Path, other: int) -> None:
    builder = Builder(tmp_path, 1000)
    builder.other(other, size=480, used=0)
    builder.build()
    assert builder.room == "245M", "half of 1000 MiB without 480 MiB and the metadata of their file system"


def test_what_another_build_has_written_is_not_counted_twice(tmp_path: Path, other: int) -> None:
    builder = Builder(tmp_path, 600)
    builder.other(other, size=480, used=400)
    builder.build()
    assert builder.room == "245M"


def test_a_build_that_was_killed_keeps_nothing(tmp_path: Path) -> None:
    builder = Builder(tmp_path, 1000)
    ended = subprocess.Popen(["true"])
    ended.wait()
    builder.other(ended.pid, size=480, used=0)
    builder.build()
    assert builder.room == "500M"


def test_a_build_for_which_the_others_leave_no_space_is_refused_by_name(tmp_path: Path, other: int) -> None:
    builder = Builder(tmp_path, 500)
    builder.other(other, size=448, used=0)
    said = builder.build(code=1)
    assert "no space left on device: /var/tmp has 500 MiB free, and a build needs 64 MiB of it" in said
    assert f"476 MiB are kept for other builds: dynoctl-build-{other}.service" in said
    assert "systemd-run" not in said

    alone = tmp_path / "alone"
    alone.mkdir()
    said = Builder(alone, 40).build(code=1)
    assert said == "no space left on device: /var/tmp has 40 MiB free, and a build needs 64 MiB of it\n"


def test_builds_take_their_space_one_after_the_other(tmp_path: Path) -> None:
    builder = Builder(tmp_path, 1000)
    with subprocess.Popen(
        ["flock", builder.run / "dynoctl-builds.lock", "sh", "-c", "echo; read x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert "another build" in builder.build(code=1)
