"""What a restart will do, for people: which dynos, in which batches, and what stays up meanwhile."""

from __future__ import annotations

from infra.plan.plan import Plan
from infra.views.plan_text import batch_lines, unreachable_lines
from infra.views.style import Style


def render(plan: Plan, style: Style) -> str:
    """The restart in full."""
    starts = [dyno for (_, dyno), effect in plan.effects().items() if effect == "start"]
    lines = [f"First, as they do not run: {', '.join(starts)}"] if starts else []
    lines += [*batch_lines(plan, style), *unreachable_lines(plan, style)]
    if not plan.changes:
        lines.append("No dyno to restart.")
    return "\n".join(lines)
