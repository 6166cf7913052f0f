"""What must be known before anything else is read: that an apply is running at this moment, or a rollback is held."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from infra.model.lock_holder import Holder
from infra.plan.plan import Plan
from infra.views.style import Style, one_line


def sentences(holders: Iterable[Holder]) -> list[str]:
    """A sentence for each apply that is running."""
    return [f"{one_line(holder.sentence())}." for holder in holders]


def text(holders: Iterable[Holder], style: Style) -> str:
    """The sentences as the first lines of a text, with a line end each."""
    return "".join(f"{style('yellow', line)}\n" for line in sentences(holders))


def document(holders: Iterable[Holder]) -> list[dict[str, str]]:
    """The applies that are running, as JSON values."""
    return [asdict(holder) for holder in holders]


def above(plan: Plan) -> list[str]:
    """The sentences that come before a plan."""
    lines = sentences(plan.applying)
    lines = [f"{line} What it has not finished is shown as changes." for line in lines]
    if plan.held is not None:
        held = one_line(str(plan.held))
        lines.append(
            f"{held}: {plan.wanted} and the source are still those of v{plan.held.over}. To undo "
            "the rollback: dynoctl apply --over-rollback."
        )
    return lines
