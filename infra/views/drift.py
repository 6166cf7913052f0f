"""Drift (changes made by hand), apart from what the manifest changes, as text or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from infra.fleet.logins import Login
from infra.model.moment import local
from infra.model.resource import Change
from infra.plan.plan import Plan
from infra.views import plan_json, under_way
from infra.views.plan_text import change_lines
from infra.views.style import Style, one_line
from infra.views.unreachable import lines as unreachable_lines


def drifted(plan: Plan) -> list[Change]:
    """The changes that revert what was changed on a server since the last apply."""
    return [change for change in plan.changes if change.drift]


def render(plan: Plan, logins: Mapping[str, Sequence[Login]], moment: str, style: Style) -> str:
    """Every drifted resource with what was found and what the manifest says, and the logins since ``moment``."""
    changes = drifted(plan)
    lines = [style("bold", words) for words in under_way.sentences(plan.applying)]
    for change in changes:
        lines += change_lines(change, (), style, verbose=True, only=change.drifted or None)
    for server, found in logins.items():
        who = "; ".join(
            f"{one_line(login.who)} from {one_line(login.where)}, {login.times} "
            f"time{'' if login.times == 1 else 's'}, last {one_line(local(login.last))}"
            for login in found
        )
        when = one_line(local(moment))
        lines.append(f"Logins on {server} since the last apply ({when}): {who or 'none in its journal'}.")
    lines += unreachable_lines(plan, style)
    if plan.applying:
        lines.append("Drift cannot be told from what that apply has not finished. Run this again when it has ended.")
        return "\n".join(lines)
    if not (changes or moment or plan.unreachable):
        lines.append(style("green", "No drift.") + f" Nothing of {plan.app} is applied yet. To apply it: dynoctl apply")
        return "\n".join(lines)
    if not changes:
        where = " on the reachable servers" if plan.unreachable else ""
        lines.append(style("green", "No drift.") + f" Nothing was changed by hand{where} since the last apply.")
        return "\n".join(lines)
    servers = len({change.resource.server for change in changes})
    resources = f"{len(changes)} resource{'' if len(changes) == 1 else 's'} changed by hand"
    what = f"{resources} on {servers} {'server' if servers == 1 else 'servers'}."
    held = plan.held  # apply is refused while a rollback is
    cure = (
        "To restore what dyno.yaml says: dynoctl apply"
        if held is None
        else f"To restore v{held.number}, a rollback that is held: dynoctl rollback v{held.of}"
    )
    lines.append(f"{style('bold', 'Drift:')} {what} {cure}")
    return "\n".join(lines)


def document(plan: Plan, logins: Mapping[str, Sequence[Login]], moment: str) -> dict[str, object]:
    """The drift as JSON, format version 1."""
    return {
        "format_version": 1,
        "app": plan.app,
        "drift": [plan_json.change(change) for change in drifted(plan)],
        "since": moment,
        "applying": under_way.document(plan.applying),
        "logins": {server: [asdict(login) for login in found] for server, found in logins.items()},
        "errors": [error.as_json() for error in plan.errors],
        "unreachable": {server: error.summary for server, error in plan.unreachable.items()},
    }
