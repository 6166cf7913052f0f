"""The detail of a failure, from what systemd and the log say: first the cause, then the exception, then the log."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from infra.manifest.model import DynoType
from infra.model import failure_log
from infra.model.events import Report

LINES = 20
"""Lines of a detail, as many as a report shows."""

LONGEST = 2000
"""Characters of a failure that a release remembers."""

NO_OUTPUT = "no output"

DEADLINE = "rollout.healthy_deadline"
"""The key of the time that dynos and candidates have to become healthy."""

_FACT = re.compile(r"^[A-Z][A-Za-z.]{0,40}=")

_CHECK = "health check: "
"""What the health check writes before its last answer."""

_GONE = "it exited before it answered"
_SILENT = "no answer to "
_KILLED = re.compile(r"SIGKILL \(signal 9\)")
"""What Ruby says of a child that the kernel killed."""

_OOM = "oom-kill"
_FAILED = "Failed with result "
_MAIN = re.compile(r"Main process exited, code=(\w+), status=(\d+)")
_STEP = re.compile(r"\bFailed at step\b|^Failed to (?!start\b)")

_EXITED, _SIGNALLED, _DUMPED = "1", "2", "3"
"""How a process ended, as systemd shows it in ExecMainCode (the CLD_ values of waitid(2))."""

_NOT_FOUND = "127"
"""The status of a shell, and of the launcher, if a program does not exist."""

_ABSENT = "program not found: "

_CODES = {"exited": _EXITED, "killed": _SIGNALLED, "dumped": _DUMPED}


@dataclass(frozen=True)
class Limits:
    """The limits that a process may have run into: ``deadline`` in seconds, with the key that changes it ("" if none
    does), and the memory of its process type."""

    deadline: int
    key: str
    type: DynoType

    @property
    def time(self) -> str:
        return f"{self.deadline} s" + (f" ({self.key}: {self.deadline})" if self.key else "")

    @property
    def memory(self) -> str:
        mebibytes = self.type.memory >> 20
        return f"the memory limit of {mebibytes} MiB (dynos.{self.type.name}.memory: {mebibytes}M)"


def detail(output: str, limits: Limits) -> str:
    """The detail of a failure. ``output`` is that of ``providers.failure``: KEY=VALUE lines, an empty line, the log.

    The first line is the cause as far as it is known, the second one the exception that the log ends with."""
    facts, log = _split(output)
    asked = [line.removeprefix(_CHECK) for line in log if line.startswith(_CHECK)]
    log = [line for line in log if not line.startswith(_CHECK)]
    while log and not log[-1].strip():
        log.pop()
    cause = _cause(facts, asked[-1] if asked else "", log, limits)
    first = [line for line in (cause, failure_log.exception(log)) if line]
    return "\n".join([*first, *failure_log.shown(log, LINES - len(first))]) or NO_OUTPUT


def remembered(report: Report) -> str:
    """What a release remembers of the failures of its apply: the summary and the detail of the first one, redacted."""
    for failure in report.failures:
        if not failure.unreachable:
            return f"{failure.summary}\n{failure.detail}"[:LONGEST].strip()
    return ""


def _split(output: str) -> tuple[dict[str, list[str]], list[str]]:
    lines = output.split("\n")
    facts: dict[str, list[str]] = {}
    for index, line in enumerate(lines):
        if not _FACT.match(line):
            # Without facts, all of it is a log.
            return facts, lines[index + 1 :] if facts and not line else lines[index:]
        name, _, value = line.partition("=")
        facts.setdefault(name, []).append(value.strip())
    return facts, []


def _cause(facts: Mapping[str, Sequence[str]], asked: str, log: Sequence[str], limits: Limits) -> str:
    """Why it failed: what was asked and answered, or how the process ended."""
    late = "timeout" in (_one(facts, "Result"), _one(facts, "Ready.Result"))
    if _one(facts, "Result") == "success":  # a worker that has been started again since
        late = late or any("result 'timeout'" in line for line in list(facts.get("Said", ()))[-2:])
    ended = _ended(facts, log, limits)
    # systemd ends the health check with the dyno (on cgroup v2, once the kernel has killed for memory, that of a
    # candidate, too), so its last words may be older than the cause.
    out_of_memory = _one(facts, "Result") == _OOM
    late = late and not out_of_memory
    out_of_memory = out_of_memory or (late and bool(_one(facts, "OutOfMemory")))
    if asked and asked != _GONE and not out_of_memory and (late or not ended or not asked.startswith(_SILENT)):
        if not late:
            return asked
        return f"{asked}, and no healthy answer came within {limits.time}"
    if late and _one(facts, "OutOfMemory"):  # its master has replaced the workers that were killed, in vain
        return f"out of memory: killed at {limits.memory}, and not healthy within {limits.time}"
    if late:
        return f"did not {'become healthy' if limits.key else 'end'} within {limits.time}"
    if ended and asked == _GONE and not ended.startswith(_ABSENT):
        return f"{ended} before it answered a request"
    return ended or asked


def _ended(facts: Mapping[str, Sequence[str]], log: Sequence[str], limits: Limits) -> str:
    """How the main process ended; "" if that is not known."""
    said = facts.get("Said", ())
    result, code, status = (_one(facts, name) for name in ("Result", "ExecMainCode", "ExecMainStatus"))
    if result in ("", "success") or code not in (_EXITED, _SIGNALLED, _DUMPED):
        # It has been started again since.
        exits = [match for line in said if (match := _MAIN.search(line)) is not None]
        code, status = (_CODES.get(exits[-1][1], ""), exits[-1][2]) if exits else ("", "")
        if result != _OOM:
            result = next((line for line in reversed(said) if line.startswith(_FAILED)), "")
    if _OOM in result:
        return f"out of memory: killed at {limits.memory}"
    if (code == _SIGNALLED and status == "9") or any(_KILLED.search(line) for line in log[-5:]):
        return f"killed by SIGKILL, as the kernel does at {limits.memory}"
    if code in (_SIGNALLED, _DUMPED):
        return f"killed by {_signal(status)}"
    # What systemd itself could not do for it, such as a file system that is not there.
    steps = [line for line in said if _STEP.search(line)]
    if steps:
        return steps[-1]
    if code != _EXITED or not status:
        return ""
    absent = failure_log.absent_program(log[-5:]) if status == _NOT_FOUND else ""
    return f"{_ABSENT}{absent}" if absent else f"exited with status {status}"


def _signal(number: str) -> str:
    with suppress(ValueError):
        return signal.Signals(int(number)).name
    return f"signal {number}"


def _one(facts: Mapping[str, Sequence[str]], name: str) -> str:
    return next(iter(facts.get(name, ())), "")
