"""Who holds a lock, as the script that asks a server finds it out."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

import pytest

from infra.errors import DynoctlError
from infra.fleet.lock import STATUS, holder


def ask(lock: Path, shell: str = "sh") -> str:
    done = subprocess.run([shell, "-c", STATUS, "lock", str(lock)], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_holder_of_a_lock(tmp_path: Path, shell: str) -> None:
    lock = tmp_path / "run" / "shop.lock"
    assert ask(lock, shell) == "free", "a server that was rebooted has no directory for locks"
    lock.parent.mkdir()
    assert ask(lock, shell) == "free", "nobody has taken it yet"
    with lock.open("a") as held:
        (lock.parent / "shop.lock.holder").write_text("root@vm since noon\n")
        assert ask(lock, shell) == "free", "a holder that is gone is none"
        fcntl.flock(held, fcntl.LOCK_EX)
        assert ask(lock, shell) == "held root@vm since noon"
        (lock.parent / "shop.lock.holder").unlink()
        assert ask(lock, shell) == "held"
    assert ask(lock, shell) == "free"


def test_what_a_server_answers() -> None:
    assert holder("s1", "free") is None
    assert holder("s1", "held root@vm since noon") == "root@vm since noon"
    assert holder("s1", "held") == "an unknown holder"
    for answer in ("", "unknown", "sh: 1: flock: not found"):
        problem = holder("s1", answer)
        assert isinstance(problem, DynoctlError) and problem.summary.startswith("s1: cannot read the lock: ")
