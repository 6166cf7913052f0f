"""What was done to an app, by whom and how it ended: one JSON line on each server for each apply."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from infra.fleet.ask import ask_servers, summaries
from infra.fleet.lock import Identity
from infra.model import paths
from infra.model.events import Report
from infra.model.resource import Command, count
from infra.model.target import Target
from infra.plan.plan import Plan

KEEP = 1000
"""Lines that stay."""

_APPEND = """\
umask 077
[ -d "${1%/*}" ] || exit 0
cat >> "$1" && [ "$(wc -l < "$1")" -le "$2" ] || {
  new=${1%/*}/new
  tail -n "$2" "$1" > "$new" && mv -f "$new" "$1" || { rm -f "$new"; exit 1; }
}
"""


def result(report: Report) -> str:
    """How an apply ended, in a word."""
    words = {"rejected": report.rejected, "reverted": report.went_back, "interrupted": report.interrupted}
    return "ok" if report.ok else next((word for word, so in words.items() if so), "failed")


def entry(
    plan: Plan, report: Report, identity: Identity, *, command: str, seconds: float, slug: str, release: int
) -> str:
    """One line. It holds no value of the environment: failures are as the report has them, redacted."""
    counts = count(report.done)
    return json.dumps(
        {
            "id": secrets.token_hex(8),
            "when": identity.when,
            "who": identity.who,
            "command": command,
            "result": result(report),
            "release": release,
            "seconds": round(seconds, 1),
            "slug": slug[:12],
            "added": counts.add,
            "changed": counts.change,
            "destroyed": counts.destroy,
            "servers": sorted(plan.servers),
            "failures": [failure.summary for failure in report.failures],
        }
    )


def append(app: str, line: str) -> Command:
    """Add one line on a server, where there is still something of the app."""
    argv = ("sh", "-c", _APPEND, "audit", paths.audit_log(app), str(KEEP))
    return Command(argv, stdin=f"{line}\n".encode(), secret=True, quiet=True, says="write the audit log")


def read(app: str, targets: Sequence[Target]) -> tuple[list[Mapping[str, Any]], dict[str, str]]:
    """Every apply that any server knows of, oldest first, and why some servers did not answer."""
    command = Command(("cat", paths.audit_log(app)))
    answers, errors = ask_servers(targets, lambda session: session.execute(command))
    found: dict[str, Mapping[str, Any]] = {}
    for status, text in answers.values():
        for line in text.splitlines() if status == 0 else ():
            try:
                one = json.loads(line)
            except ValueError:
                continue  # a line that a power cut left half written
            if isinstance(one, dict) and isinstance(one.get("id"), str):
                found[one["id"]] = one
    return sorted(found.values(), key=lambda one: str(one.get("when", ""))), summaries(errors)
