"""The audit log: one JSON line for each command that changed servers, on each of them, with who ran it and how it
ended."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from infra.fleet.ask import ask_servers, summaries
from infra.fleet.lock import Identity
from infra.model import answer, lock_holder, paths
from infra.model.events import Report
from infra.model.invocation import Invocation
from infra.model.resource import Command, count
from infra.model.target import Target
from infra.plan.plan import Plan
from infra.remote.session import Session

KEEP = 1000
"""Lines that are kept."""

_APPEND = """\
umask 077
[ -d "${1%/*}" ] || exit 0
[ ! -s "$1" ] || [ "$(tail -c 1 "$1" | wc -l)" -eq 1 ] || echo >> "$1" # a full disk or a power failure cut a line
cat >> "$1" && [ "$(wc -l < "$1")" -le "$2" ] || {
  new=${1%/*}/new
  tail -n "$2" "$1" > "$new" && sync "$new" && mv -f "$new" "$1" || { rm -f "$new"; exit 1; }
}
"""

_HOLDER = f"app=$1\n{lock_holder.SCRIPT}:\n"


def result(report: Report) -> str:
    """The result of an apply: ok, rejected, reverted, interrupted or failed."""
    results = {"rejected": report.rejected, "reverted": report.fully_reverted, "interrupted": report.interrupted}
    return "ok" if report.ok else next((name for name, applies in results.items() if applies), "failed")


def entry(
    plan: Plan,
    report: Report,
    identity: Identity,
    invocation: Invocation,
    *,
    slug: str,
    release: int,
    message: str = "",
) -> str:
    """One line of the log. It contains no secrets: the failures are those of the report, redacted."""
    counts = count(report.done)
    return _line(
        identity,
        invocation,
        result=result(report),
        seconds=round(report.seconds, 1),
        release=release,
        slug=slug[:12],
        added=counts.add,
        changed=counts.change,
        destroyed=counts.destroy,
        message=message,
        servers=sorted(plan.servers),
        failures=[failure.summary for failure in report.failures],
    )


def switched(
    identity: Identity, invocation: Invocation, *, seconds: float, done: Collection[str], failed: Collection[str]
) -> str:
    """The line of a switch of maintenance mode, with the servers whose routers were switched and those whose were not.
    Why is not in it: what a router says is not redacted."""
    return _line(
        identity,
        invocation,
        result="failed" if failed else "ok",
        seconds=round(seconds, 1),
        changed=len(done),
        servers=sorted([*done, *failed]),
        failures=[f"the router on {server} was not switched" for server in sorted(failed)],
    )


def _line(identity: Identity, invocation: Invocation, **fields: object) -> str:
    """A line with all fields, as an older dynoctl expects them. It prints the command without its arguments, which it
    does not know."""
    asked = {"command": invocation.command, "arguments": list(invocation.arguments)}
    counts = dict.fromkeys(_NUMBERS, 0)
    own = {"id": secrets.token_hex(8), "when": identity.when, "who": identity.who, "slug": "", "message": ""}
    return json.dumps({**own, **asked, **counts, **fields})


def append(app: str, line: str) -> Command:
    """Append a line to the log of a server, if the app still has records there."""
    argv = ("sh", "-c", _APPEND, "audit", paths.audit_log(app), str(KEEP))
    return Command(argv, stdin=f"{line}\n".encode(), secret=True, quiet=True, label="write the audit log")


def read(
    app: str, targets: Sequence[Target], holders: dict[str, str] | None = None
) -> tuple[list[Mapping[str, Any]], dict[str, str]]:
    """The entries in the logs of all servers, oldest first, and why some servers are unreachable. Who holds the app's
    lock on each server is added to ``holders``."""
    command = Command(("cat", paths.audit_log(app)))
    holder = Command(("sh", "-c", _HOLDER, "holder", app))

    def ask(session: Session) -> tuple[list[Mapping[str, Any]], str]:
        status, text = session.execute(command)
        return parse(text) if status == 0 else [], lock_holder.read(session.execute(holder)[1])

    answers, errors = ask_servers(targets, ask)
    found: dict[str, Mapping[str, Any]] = {}
    for server, (entries, lock) in answers.items():
        if holders is not None:
            holders[server] = lock
        for logged in entries:
            found.setdefault(logged["id"], logged)
    return sorted(found.values(), key=lambda logged: str(logged["when"])), summaries(errors)


def parse(text: str) -> list[Mapping[str, Any]]:
    """The entries of a log, oldest first. A line that was cut off by a power failure is left out, and so are unknown
    fields and those of another type."""
    entries = (answer.record(line) for line in text.splitlines()[-KEEP:])
    return [_entry(logged) for logged in entries if isinstance(logged.get("id"), str)]


_TEXTS = ("id", "when", "who", "command", "result", "slug", "message")
_NUMBERS = ("release", "added", "changed", "destroyed")
_LISTS = ("arguments", "servers", "failures")


def _entry(logged: Mapping[str, Any]) -> Mapping[str, Any]:
    seconds = logged.get("seconds", 0)
    return {
        **{name: text if isinstance(text := logged.get(name, ""), str) else "" for name in _TEXTS},
        **{name: number if answer.whole(number := logged.get(name, 0)) else 0 for name in _NUMBERS},
        **{name: [text for text in _list(logged.get(name)) if isinstance(text, str)] for name in _LISTS},
        "seconds": seconds if isinstance(seconds, int | float) and not isinstance(seconds, bool) else 0,
    }


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
