"""Logins that run no script, and servers that drop connections: each has its own error, and dropped ones are retried."""

from __future__ import annotations

import time

import pytest

from infra.errors import Unreachable
from infra.remote import busy
from infra.remote.busy import Dropped, patiently
from infra.remote.login_shell import refused


@pytest.mark.parametrize(
    ("status", "stdout", "stderr", "says", "hint"),
    [
        (1, "", "sudo: a password is required\n", "cannot become root without a password: sudo: a pass", "sudoers"),
        (
            1,
            "",
            "sudo: unable to resolve host grid-1: Name or service not known\nsudo: a password is required\n",
            "cannot become root without a password: sudo: a password is required",
            "sudoers",
        ),
        (1, "", "sudo: unable to resolve host grid-1: timed out\n", "failed with status 1", "getent passwd deploy"),
        (127, "", "sh: 1: sudo: not found\n", "cannot become root without a password: sh: 1: sudo: not found", "root"),
        (1, "This account is currently not available.\n", "", "runs no commands: This account", "usermod -s"),
        (1, "This service allows sftp connections only.\n", "", "runs no commands: This service", "ForceCommand"),
        (1, "", "", "failed with status 1", "getent passwd deploy"),
        (127, "", "fish: Unknown command\n", "failed with status 127: fish: Unknown command", "getent"),
        (0, "", "", "does not run the script that it is given, as with a forced command", "authorized_keys"),
        (0, "backup 3 of 7\nsecond\n", "", "it printed: backup 3 of 7", "command="),
        (5, "usage: git-shell\n", "", "it printed: usage: git-shell", "ForceCommand"),
        (None, "menu:\n\x1b[31m1) exit", "", "it printed: menu:", "~/.bashrc"),
        (None, "", "", "timed out before the login of user deploy began to run the script", "the load of the server"),
        (None, "", "", "timed out", "read input"),
    ],
)
def test_a_login_that_runs_no_script(status: int | None, stdout: str, stderr: str, says: str, hint: str) -> None:
    error = refused("grid-1", "deploy", status, stdout, stderr)
    assert error.summary.startswith("grid-1: ") and says in error.summary
    assert hint in error.hint and "\x1b" not in error.summary
    assert not error.silent


def test_what_a_forced_command_reads_is_not_shown() -> None:
    error = refused("grid-1", "deploy", 0, "PATH=/bin\nc2VjcmV0\n", "")
    assert "c2VjcmV0" not in error.summary


def test_a_dropped_connection_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    outcomes = [Dropped("cannot connect", "Exceeded MaxStartups")] * 3

    def attempt() -> str:
        if outcomes:
            raise outcomes.pop()
        return "connected"

    assert patiently(attempt, 60) == "connected"
    assert len(slept) == 3 and slept[0] < slept[2]  # 0.1 to 0.3 s, then 0.4 to 1.2 s
    assert all(0.5 * busy.FIRST <= pause <= 1.5 * busy.LONGEST for pause in slept)


def test_a_server_that_drops_all_is_not_one_that_is_down() -> None:
    def attempt() -> str:
        raise Dropped("cannot connect to grid-1 (10.0.0.11:22)", "Exceeded MaxStartups")

    with pytest.raises(Unreachable) as caught:
        patiently(attempt, 0)
    assert "before it began (Exceeded MaxStartups)" in caught.value.summary
    assert "MaxStartups" in caught.value.hint and not caught.value.silent


def test_other_errors_are_not_retried() -> None:
    calls: list[int] = []

    def attempt() -> str:
        calls.append(1)
        raise Unreachable("refused")

    with pytest.raises(Unreachable, match="refused"):
        patiently(attempt, 60)
    assert len(calls) == 1
