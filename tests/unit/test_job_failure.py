"""What systemd says about a job takes the place of where to read it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from infra.model import job_failure
from infra.model.resource import Command

START = Command(("systemctl", "start", "dyno-shop-web-1.service"), label="start web.1")

POINTERS = [
    'Job for dyno-shop-web-1.service failed because the control process exited with error code.\n'
    'See "systemctl status dyno-shop-web-1.service" and "journalctl -xeu dyno-shop-web-1.service" for details.',
    "A dependency job for dyno-shop-web-1.service failed. See 'journalctl -xe' for details.",
    "Failed to start srv-dyno-shop-a.mount: Unit srv-dyno-shop-a.mount has a bad unit setting.\n"
    "See system logs and 'systemctl status srv-dyno-shop-a.mount' for details.",
    'Job for a.service failed.\nSee "systemctl --user status a.service" and "journalctl --user -xeu a.service" for details.',
]  # fmt: skip


@pytest.mark.parametrize("output", POINTERS)
def test_a_pointer_is_never_the_last_word(output: str) -> None:
    assert job_failure.points_elsewhere(output)
    told = job_failure.told(output, "Main process exited, code=exited, status=203/EXEC\n")
    assert "journalctl" not in told and "systemctl" not in told
    assert told.splitlines()[-1] == "Main process exited, code=exited, status=203/EXEC"
    assert len(told.splitlines()) >= 2, "what failed is still said"


def test_other_output_is_left_alone() -> None:
    output = "nginx: [emerg] unknown directive\nthe service is inactive"
    assert not job_failure.points_elsewhere(output)
    assert job_failure.told(output, "") == output


def test_the_units_of_a_step_and_of_its_output_are_asked_about() -> None:
    look = job_failure.look(START, "A dependency job for srv-dyno-shop\\x2dadmin-0a.mount failed. See 'journalctl -xe'")
    assert look.argv[4:] == ("srv-dyno-shop\\x2dadmin-0a.mount", "dyno-shop-web-1.service")
    socket = job_failure.look(Command(("sh", "-c", "restart it", "open", "dyno-shop-web-1")), "Job failed.")
    assert socket.argv[4:] == ("dyno-shop-web-1.socket", "dyno-shop-web-1.service"), "they share the name"
    many = " ".join(f"unit-{number}.service" for number in range(50))
    assert len(job_failure.look(START, many).argv) < 15


def test_lines_without_a_reason_are_left_out(tmp_path: Path) -> None:
    lines = [
        "Starting dyno web.1 of shop...",
        "dyno-shop-web-1.service: Ignoring invalid environment assignment 'KEY=s3cret'",
        "dyno-shop-web-1.service: Failed to execute /usr/bin/ruby: Argument list too long",
        "dyno-shop-web-1.service: Main process exited, code=exited, status=203/EXEC",
        "dyno-shop-web-1.service: Scheduled restart job, restart counter is at 1.",
        "dyno-shop-web-1.service: Main process exited, code=exited, status=203/EXEC",
        "dyno-shop-web-1.service: Failed with result 'oom-kill'.",
        "dyno-shop-web-1.service: Consumed 1.2s CPU time.",
    ]
    (tmp_path / "lines").write_text("\n".join(lines) + "\n")
    (tmp_path / "journalctl").write_text(f"#!/bin/sh\ncat {tmp_path}/lines\n")
    (tmp_path / "journalctl").chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", f'{job_failure.SAID}said_of "$1"; printf %s "$unit"', "said", "dyno-shop-web-1.service"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "LC_ALL": "C", "unit": "kept"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "Failed to execute /usr/bin/ruby: Argument list too long",
        "Main process exited, code=exited, status=203/EXEC",
        "Failed with result 'oom-kill'.",
        "kept",
    ]
