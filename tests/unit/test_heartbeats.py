"""The heartbeat of a lock, in a real shell: however its session ends, its file goes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.remote.lock_scripts import HEART, OLD_BEATS
from infra.remote.quote import assign

LIMIT = 60


class Heart:
    """A heart that beats in ``directory``; its reader is this process."""

    def __init__(self, directory: Path, patience: int) -> None:
        self.directory = directory
        script = assign({"app": "shop", "nonce": "n", "patience": str(patience)}) + HEART
        self.shell = subprocess.Popen(
            ["sh", "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.say(script.replace("/run/dynoctl", str(directory)))
        assert self.shell.stdout is not None
        deadline = time.monotonic() + LIMIT
        while not select.select([self.shell.stdout], [], [], 0.2)[
            0
        ]:  # the shell may read the first ones with its script
            assert time.monotonic() < deadline
            self.say("1\n")
        assert self.shell.stdout.readline() == "1\n"

    def say(self, text: str) -> None:
        assert self.shell.stdin is not None
        self.shell.stdin.write(text)
        self.shell.stdin.flush()

    def beats(self) -> list[str]:
        return [path.name for path in self.directory.iterdir()]

    def ended(self) -> list[str]:
        """What is left of it once it has ended."""
        self.shell.wait(LIMIT)
        return self.beats()


@pytest.fixture
def hearts(tmp_path: Path) -> Iterator[list[Heart]]:
    made: list[Heart] = []
    yield made
    for heart in made:
        heart.shell.kill()
        heart.shell.wait()
        for pipe in (heart.shell.stdin, heart.shell.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()


@pytest.mark.parametrize("patience", [60, 1])
def test_it_beats(tmp_path: Path, hearts: list[Heart], patience: int) -> None:
    hearts.append(Heart(tmp_path, patience))
    assert hearts[0].beats() == ["shop.lock.beat.n"]
    assert (tmp_path / "shop.lock.beat.n").read_text() == "1\n"


def test_the_end_of_its_session(tmp_path: Path, hearts: list[Heart]) -> None:
    hearts.append(Heart(tmp_path, 60))
    assert hearts[0].shell.stdin is not None
    hearts[0].shell.stdin.close()
    assert hearts[0].ended() == []


def test_a_reader_that_is_gone(tmp_path: Path, hearts: list[Heart]) -> None:
    """The shell was ended by the write, and a shell that a signal ends runs no trap for its exit."""
    hearts.append(Heart(tmp_path, 60))
    assert hearts[0].shell.stdout is not None
    hearts[0].shell.stdout.close()
    hearts[0].say("2\n")
    assert hearts[0].ended() == []


def test_a_network_that_was_cut(tmp_path: Path, hearts: list[Heart]) -> None:
    """Nothing comes any more, not even an end."""
    hearts.append(Heart(tmp_path, 1))
    assert hearts[0].ended() == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal(tmp_path: Path, hearts: list[Heart], number: signal.Signals) -> None:
    hearts.append(Heart(tmp_path, 60))
    hearts[0].shell.send_signal(number)
    hearts[0].say("2\n")  # a shell runs no trap before its read has ended
    assert hearts[0].ended() == [] and hearts[0].shell.returncode == 1


def test_one_that_was_killed_is_swept_and_none_that_beats(tmp_path: Path) -> None:
    names = ("shop.lock.beat.old", "shop.lock.beat.new", "shop-admin.lock.beat.old", "shop.lock")
    for name in names:
        (tmp_path / name).write_text("1\n")
        if name != "shop.lock.beat.new":
            os.utime(tmp_path / name, (0, time.time() - 600))
    script = assign({"app": "shop", "patience": "45"}) + OLD_BEATS.replace("/run/dynoctl", str(tmp_path))
    subprocess.run(["sh", "-s"], input=script, text=True, check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(set(names) - {"shop.lock.beat.old"})
