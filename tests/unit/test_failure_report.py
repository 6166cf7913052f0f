"""The detail of a failure, from what systemd and the log say, and how reports and releases show it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from infra.engine import failure_report
from infra.engine.failure_report import DEADLINE, Limits, detail
from infra.manifest.model import DynoType
from infra.model import failure_log
from infra.model.events import Failure, Report
from infra.model.release import Release, parse
from infra.views import releases, report_text
from infra.views.style import Style
from providers import failure

LIMITS = Limits(60, DEADLINE, DynoType("web", 1))
RELEASE = Limits(1800, "", DynoType("web", 1))
MEMORY = "the memory limit of 512 MiB (dynos.web.memory: 512M)"


GONE = "it exited before it answered"


def told(facts: str, log: str = "") -> str:
    return "\n".join(facts.split()) + f"\n\n{log}" if facts else log


@pytest.mark.parametrize(
    ("output", "limits", "lines"),
    [
        (
            told(
                "Result=exit-code ExecMainCode=2 ExecMainStatus=9",  # it was killed after it had answered
                "RuntimeError: boom\n/app/app.rb:1:in `x'\nhealth check: GET / answered 500",
            ),
            LIMITS,
            ["GET / answered 500", "RuntimeError: boom (app.rb:1)", "RuntimeError: boom", "/app/app.rb:1:in `x'"],
        ),
        (
            told("Result=timeout ExecMainCode=2 ExecMainStatus=15", "health check: GET /up answered 503"),
            LIMITS,
            ["GET /up answered 503, and no healthy answer came within 60 s (rollout.healthy_deadline: 60)"],
        ),
        (
            told("Result=success Ready.Result=timeout", "health check: no answer to GET /\nwaiting"),
            LIMITS,
            [
                "no answer to GET /, and no healthy answer came within 60 s (rollout.healthy_deadline: 60)",
                "waiting",
            ],
        ),
        (
            told("Result=exit-code ExecMainCode=1 ExecMainStatus=3", "bye\nhealth check: it exited before it answered"),
            LIMITS,
            ["exited with status 3 before it answered a request", "bye"],
        ),
        (
            told("Result=oom-kill ExecMainCode=2 ExecMainStatus=9", "health check: it exited before it answered"),
            LIMITS,
            [f"out of memory: killed at {MEMORY} before it answered a request"],
        ),
        (
            told(
                "Result=success ExecMainCode=0 OutOfMemory=yes Ready.Result=timeout", "health check: no answer to GET /"
            ),
            LIMITS,
            [f"out of memory: killed at {MEMORY}, and not healthy within 60 s (rollout.healthy_deadline: 60)"],
        ),
        (
            told(
                "Result=success ExecMainCode=0 OutOfMemory=yes", "health check: GET /up answered 503"
            ),  # of a worker once
            LIMITS,
            ["GET /up answered 503"],
        ),
        *(
            (
                told("Result=oom-kill ExecMainCode=2 ExecMainStatus=9", f"health check: {asked}\nbooting"),
                LIMITS,
                [f"out of memory: killed at {MEMORY}", "booting"],
            )
            for asked in ("no answer to GET /", "GET /up answered 503")
        ),
        (
            "Result=success\nExecMainCode=0\n"  # it has been started again
            "Said=A process of this unit has been killed by the OOM killer.\n"
            "Said=Main process exited, code=killed, status=9/KILL\n"
            "Said=Failed with result 'oom-kill'.\n\nhealth check: no answer to GET /",
            LIMITS,
            [f"out of memory: killed at {MEMORY}"],
        ),
        (
            "Result=exit-code\nExecMainCode=1\nExecMainStatus=3\n"
            "Said=Failed with result 'oom-kill'.\n"  # of an earlier run
            "Said=Failed with result 'exit-code'.\n\nhealth check: no answer to GET /",
            LIMITS,
            ["exited with status 3"],
        ),
        (
            "Result=success\nExecMainCode=0\nSaid=Main process exited, code=killed, status=9/KILL\n\nworking",
            LIMITS,
            [f"killed by SIGKILL, as the kernel does at {MEMORY}", "working"],
        ),
        (
            "Result=exit-code\nExecMainCode=1\nExecMainStatus=226\n"
            "Said=Failed at step NAMESPACE spawning /usr/bin/ruby: No such file or directory\n"
            "Said=Main process exited, code=exited, status=226/NAMESPACE\nSaid=Failed with result 'exit-code'.\n\n",
            LIMITS,
            ["Failed at step NAMESPACE spawning /usr/bin/ruby: No such file or directory"],
        ),
        (
            "Result=exit-code\nExecMainCode=1\nExecMainStatus=4\n"
            "Said=Main process exited, code=killed, status=9/KILL\n"  # of an earlier run
            "Said=Failed to start dyno-shop-web-1.service - dyno web.1 of shop.\n\n",
            LIMITS,
            ["exited with status 4"],
        ),
        (
            told(
                "Result=exit-code ExecMainCode=1 ExecMainStatus=1",
                "worker=0 ended: #<Process::Status: pid 5 SIGKILL (signal 9)>\nhealth check: it exited before it answered",
            ),
            LIMITS,
            [
                f"killed by SIGKILL, as the kernel does at {MEMORY} before it answered a request",
                "worker=0 ended: #<Process::Status: pid 5 SIGKILL (signal 9)>",
            ],
        ),
        *(
            (
                told("Result=exit-code ExecMainCode=1 ExecMainStatus=127", f"{said}\nhealth check: {GONE}"),
                LIMITS,
                [f"program not found: {program}", said],
            )
            for said, program in (
                ("dynoctl: cannot start bin/jobs: No such file or directory", "bin/jobs"),
                ("/usr/bin/env: 'bin/jobs': No such file or directory", "bin/jobs"),
                ("/bin/sh: 1: bundle: not found", "bundle"),
                ("/bin/sh: 1: exec: bin/a: b: not found", "bin/a: b"),
                ("bash: line 3: rake: command not found", "rake"),
            )
        ),
        (
            told("Result=exit-code ExecMainCode=1 ExecMainStatus=127", "GET /: not found"),
            LIMITS,
            ["exited with status 127", "GET /: not found"],
        ),
        (
            told("Result=exit-code ExecMainCode=1 ExecMainStatus=1", "sh: 1: bundle: not found"),
            LIMITS,
            ["exited with status 1", "sh: 1: bundle: not found"],
        ),
        (told("Result=core-dump ExecMainCode=3 ExecMainStatus=11"), LIMITS, ["killed by SIGSEGV"]),
        (told("Result=timeout ExecMainCode=2 ExecMainStatus=15", "x"), RELEASE, ["did not end within 1800 s", "x"]),
        (told("Result=timeout"), LIMITS, ["did not become healthy within 60 s (rollout.healthy_deadline: 60)"]),
        (
            "Result=success\nExecMainCode=0\nSaid=Failed with result 'timeout'.\nSaid=Failed to start x.\n\nworking",
            LIMITS,
            ["did not become healthy within 60 s (rollout.healthy_deadline: 60)", "working"],
        ),
        ("KEY=1 of the app's own\nfailed", LIMITS, ["failed"]),
        ("just a log", LIMITS, ["just a log"]),
        ("", LIMITS, ["no output"]),
    ],
)
def test_the_cause_comes_first(output: str, limits: Limits, lines: list[str]) -> None:
    assert detail(output, limits).splitlines() == lines


def test_the_last_lines_of_a_log_fit_a_report() -> None:
    log = "\n".join(f"line {number}" for number in range(500))
    lines = detail(told("Result=exit-code ExecMainCode=1 ExecMainStatus=1", log), LIMITS).splitlines()
    assert lines[0] == "exited with status 1" and lines[-1] == "line 499" and len(lines) == failure_report.LINES


def test_failures_of_the_same_kind_are_explained_once() -> None:
    detail = "exited with status 1\nRuntimeError: boom\nlog"
    failures = [Failure("grid-1", "web.1", "web.1 failed", detail), Failure("grid-2", "web.2", "web.2 failed", detail)]
    assert (
        failure_log.kind("exit\n06:54 #7 up\na") == failure_log.kind("exit\n06:55 #81 up\nb") != failure_log.kind("x")
    )
    text = report_text.render(Report(failures=failures), 1, "Apply", Style(False))
    assert text.count("  | log") == 1
    assert "Failed: web.2 failed\n  | exited with status 1\n  | RuntimeError: boom\n  | (as web.1 on grid-1)\n" in text


def test_a_release_remembers_why_it_failed() -> None:
    report = Report(
        failures=[
            Failure("grid-2", "apply", "unreachable", unreachable=True),
            Failure("grid-1", "candidate", "release rejected", "GET / answered 500\n" + "x" * 9000),
        ]
    )
    failure = failure_report.remembered(report)
    assert failure.startswith("release rejected\nGET / answered 500\n") and len(failure) == failure_report.LONGEST
    release = Release(1, "a" * 64, "d", "s", result="rejected", failure="release rejected\nGET / answered \x1b500")
    assert parse({**vars(release)}) == release
    text = releases.details(release, [], [], [])
    assert text.endswith("  Why it failed\n  | release rejected\n  | GET / answered \\x1b500")
    assert parse({**vars(release), "failure": 5}) is None
    older = {name: value for name, value in vars(release).items() if name != "failure"}
    assert (found := parse(older)) is not None and found.failure == ""


@pytest.mark.parametrize("cause", ["GET / answered 50{}", "exited with status {}", "killed by signal 3{}"])
def test_other_answers_and_statuses_are_other_causes(cause: str) -> None:
    """The cause of one of them was shown as that of both."""
    assert failure_log.kind(f"{cause.format(1)}\n[81] up") == failure_log.kind(f"{cause.format(1)}\n[7] up")
    assert failure_log.kind(f"{cause.format(1)}\n[81] up") != failure_log.kind(f"{cause.format(3)}\n[81] up")


@pytest.mark.parametrize(
    ("events", "lost"), [("oom 3\noom_kill 2\n", True), ("oom 0\noom_kill 0\n", False), ("", False)]
)
def test_the_workers_that_a_running_dyno_has_lost(tmp_path: Path, events: str, *, lost: bool) -> None:
    """On cgroup v1, there is no such file."""
    (tmp_path / "dyno.slice").mkdir()
    if events:
        (tmp_path / "dyno.slice/memory.events").write_text(events)
    said = "case $* in *ControlGroup*) echo /dyno.slice;; *) echo Result=success;; esac"
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\n{said}\n")
    (tmp_path / "systemctl").chmod(0o755)
    (tmp_path / "journalctl").symlink_to("/bin/true")
    script = f"{failure.FACTS.replace('/sys/fs/cgroup', str(tmp_path))}facts x.service\n"
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(["sh", "-c", script], env={"PATH": path}, capture_output=True, text=True, check=True)
    assert done.stdout == "Result=success\n" + "OutOfMemory=yes\n" * lost
