"""How an apply ended, for people: what was done where, what failed and why, what was not begun."""

from __future__ import annotations

from collections.abc import Sequence

from infra.model.events import Report
from infra.model.resource import Change, count
from infra.views.plan_text import SYMBOLS
from infra.views.style import Style, printable


def render(report: Report, seconds: float, verb: str, style: Style) -> str:
    """The report. ``verb`` is Apply, Rollback or Destroy."""
    lines: list[str] = []
    if report.release_said:
        lines.append("The release command said:")
        lines += [f"  | {printable(line)}" for line in report.release_said.splitlines()[-20:]]
    for failure in report.failures:
        lines.append(style("red", f"Failed: {printable(failure.summary)}"))
        lines += [f"  | {printable(line)}" for line in failure.detail.splitlines()[-20:]]
    if report.rejected:
        lines.append("No dyno was touched: what ran before goes on running.")
    if report.halted:
        lines.append("The rollout stopped there: no further dyno was restarted, and nothing was removed.")
    if report.reverted:
        lines.append(f"Back to what they ran before: {', '.join(report.reverted)}.")
    if report.stranded:
        lines.append(style("red", f"Did not go back, and may run the new release: {', '.join(report.stranded)}."))
    if report.interrupted:
        lines.append("Interrupted: the step under way was finished, nothing new was begun.")
    if report.skipped:
        lines.append("Not done:")
        lines += [f"  {SYMBOLS[change.action]} {change.address}" for change in report.skipped]
    if report.failures and report.done:
        lines.append("Done:")
        lines += [f"  {SYMBOLS[change.action]} {change.address}" for change in report.done]
    counts = _counts(report.done)
    end = style("green", f"{verb} complete:") if report.ok else style("red", f"{verb} incomplete:")
    lines.append(f"{end} {counts} in {seconds:.1f} s.")
    if not report.ok:
        lines.append("Run it again when the cause is gone; it goes on from what is there.")
    return "\n".join(lines)


def _counts(done: Sequence[Change]) -> str:
    counts = count(done)
    return f"{counts.add} added, {counts.change} changed, {counts.destroy} destroyed"
