"""The plan of a restart as text: the dynos of each batch, and how many are still up while it restarts."""

from __future__ import annotations

from infra.plan.plan import Plan
from infra.views.plan_screen import batch_line
from infra.views.style import Style, one_line
from infra.views.unreachable import lines as unreachable_lines


def render(plan: Plan, style: Style) -> str:
    """The whole plan of a restart."""
    starts = [dyno for (_, dyno), effect in plan.effects().items() if effect == "start"]
    lines = [f"Not running, so started first: {', '.join(starts)}"] if starts else []
    lines += [
        *batch_line(plan, style),
        *(f"Note: {one_line(note)}." for note in plan.notes),
        *unreachable_lines(plan, style),
    ]
    if not plan.changes:
        lines.append("No dynos to restart. To see what runs: dynoctl ps")
    return "\n".join(lines)
