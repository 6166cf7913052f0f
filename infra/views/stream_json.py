"""The progress of an apply as JSON lines, format version 1: the plan, every event, and the report at the end."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime

from infra.errors import OK
from infra.model.events import Event, Report
from infra.plan.plan import Plan
from infra.views import json_text, plan_json, report_json

FORMAT_VERSION = 1


class StreamProgress:
    """Writes one line to stdout per event. ``at`` is UTC in ISO 8601 with milliseconds."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()

    def __enter__(self) -> StreamProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def interrupted(self) -> None:
        """Say so on stderr: stdout is for events."""
        sys.stderr.write("Interrupted: finishing the current step. Interrupt again to exit at once.\n")

    def __call__(self, event: Event) -> None:
        values = {
            "event": event.kind,
            "server": event.server,
            "subject": event.subject,
            "text": event.text,
            "total": event.total,
            "number": event.number,
            "seconds": event.seconds,
        }
        with self._mutex:
            write("event", values)


def write_plan(plan: Plan, round_trips: dict[str, int]) -> None:
    """Write the first line: the plan, and how many connections and execs it took."""
    global _unfinished  # a signal handler asks
    _unfinished = True
    _write(plan_json.line_chunks(_head("plan"), plan, round_trips), "\n")
    _unfinished = False


def write_report(code: int, seconds: float, report: Report | None = None) -> None:
    """Write the last line. ``report`` is None if nothing was started."""
    done = report_json.document(report or Report())
    write("report", {"exit_code": code, "seconds": round(seconds, 1), **done, "ok": code == OK})


def write_failure(code: int, error: Mapping[str, object]) -> None:
    """Write the last line of a command that failed before it changed anything: a report with the error."""
    failed = {**report_json.document(Report()), "ok": False, "error": error}
    write("report", {"exit_code": code, "seconds": None, **failed})


def write_abandoned(code: int) -> None:
    """Write the last line of a command that exits in the middle of a step. For a signal handler, so past the buffer."""
    values = {"exit_code": code, "seconds": None, "ok": False, "interrupted": True}
    with suppress(OSError, ValueError):
        os.write(sys.stdout.fileno(), f"{_begin()}{_line('report', values)}".encode())


def write(kind: str, values: Mapping[str, object]) -> None:
    """Write one line and flush it, so that a reader can follow. If the reader exits, the apply goes on without it."""
    _write([_begin(), _line(kind, values)])


_unfinished = False
"""Whether the line of the plan, which is written in parts, was begun and has no end yet."""


def _begin() -> str:
    """What ends a line that an interrupt cut off, so that the next one can be read."""
    global _unfinished
    was, _unfinished = _unfinished, False
    return "\n" if was else ""


def _write(parts: Iterable[str], *more: str) -> None:
    try:
        for part in parts:
            sys.stdout.write(part)
        sys.stdout.write("".join(more))
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _head(kind: str) -> dict[str, object]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"format_version": FORMAT_VERSION, "type": kind, "at": now}


def _line(kind: str, values: Mapping[str, object]) -> str:
    return json_text.inert(json.dumps({**_head(kind), **values})) + "\n"
