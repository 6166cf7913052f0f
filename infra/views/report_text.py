"""The report of an apply as text: what was done, what failed and why, what was not started."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from infra.model.events import Failure, Report
from infra.model.resource import Change, count
from infra.views.plan_text import SYMBOLS
from infra.views.style import Style, duration, one_line


def render(report: Report, seconds: float, verb: str, style: Style) -> str:
    """The report. ``verb`` is Apply, Rollback, Restart or Destroy."""
    lines: list[str] = []
    if report.release_output:
        lines.append("Output of the release command:")
        lines += [f"  | {one_line(line)}" for line in report.release_output.splitlines()[-20:]]
    for summary, detail in _folded(report.failures):
        lines.append(style("red", f"Failed: {one_line(summary)}"))
        lines += [f"  | {one_line(line)}" for line in detail.splitlines()[-20:]]
    if report.rejected:
        lines.append("The release was rejected before any dyno was changed. The previous release keeps running.")
    if report.halted:
        lines.append("The rollout stopped: no further dyno was restarted, and nothing was removed.")
    if report.tolerated:
        lines.append(f"Failed, as rollout.max_failures allows: {', '.join(report.tolerated)}.")
    if report.reverted:
        lines.append(f"Reverted to what ran before: {', '.join(report.reverted)}.")
    if report.stranded:
        lines.append(style("red", f"Not reverted, may still run the new release: {', '.join(report.stranded)}."))
    if report.interrupted:
        lines.append("Interrupted: the current step was finished, and no further step was started.")
    if report.skipped:
        lines.append("Not started:")
        lines += [f"  {SYMBOLS[change.action]} {change.address}" for change in report.skipped]
    if report.failures and report.done:
        lines.append("Done:")
        lines += [f"  {SYMBOLS[change.action]} {change.address}" for change in report.done]
    counts = _counts(report.done)
    end = style("green", f"{verb} complete:") if report.ok else style("red", f"{verb} incomplete:")
    lines.append(f"{end} {counts} in {duration(seconds)}.")
    if not report.ok:
        lines.append(f"hint: fix the cause and run {verb.lower()} again; it continues from the current state")
    return "\n".join(lines)


def _folded(failures: Sequence[Failure]) -> Iterator[tuple[str, str]]:
    """The summary and detail of each failure; one cause on several servers is said once, with their names."""
    causes: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        cause = failure.summary.removeprefix(f"{failure.server}: ")
        found = causes.setdefault((cause, failure.detail), [])
        if cause != failure.summary and failure.server not in found:
            found.append(failure.server)
    for (cause, detail), servers in causes.items():
        yield f"{', '.join(servers)}: {cause}" if servers else cause, detail


def _counts(done: Sequence[Change]) -> str:
    counts = count(done)
    return f"{counts.add} added, {counts.change} changed, {counts.destroy} destroyed"
