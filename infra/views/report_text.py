"""The report of an apply as text: what was done, what failed and why, what was not started."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from infra.model import failure_log
from infra.model.events import HERE, Failure, Report
from infra.model.ranges import shortened
from infra.model.resource import Change, count
from infra.model.text import enumeration
from infra.views.plan_text import NAMED, SYMBOLS
from infra.views.style import Style, duration, one_line

MANY = 24
"""Dynos that are named one by one."""


def render(report: Report, seconds: float, verb: str, style: Style) -> str:
    """The report. ``verb`` is the command."""
    lines: list[str] = []
    if report.release_output:
        lines.append("Output of the release command:")
        lines += [f"  | {one_line(line)}" for line in report.release_output.splitlines()[-20:]]
    lines += _by_ssh(report)
    explained: dict[str, str] = {}
    for summary, subject, text in _folded(report.failures):
        lines.append(style("red", f"Failed: {one_line(summary)}"))
        detail = text.splitlines()[-20:]
        # Dynos of one release fail alike: the log of one of them explains the others.
        first = explained.setdefault(failure_log.kind(text), subject)
        if len(detail) > 2 and first != subject:
            detail = [*detail[:2], f"(as {first})"]
        lines += [f"  | {one_line(line)}" for line in detail]
    if report.rejected:
        lines.append("The release was rejected before any dyno was changed. The previous release keeps running.")
    if report.halted:
        lines.append("The rollout stopped: no further dyno was restarted, and nothing was removed.")
    if report.tolerated:
        lines.append(f"Failed, as rollout.max_failures allows: {_names(report.tolerated)}.")
    if report.reverted:
        lines.append(f"Reverted to what ran before: {_names(report.reverted)}.")
    if report.stranded:
        stranded = f"Not reverted, may still run the new release: {enumeration(report.stranded, MANY)}."
        lines.append(style("red", stranded))
    if report.interrupted:
        lines.append("Interrupted: the current step was finished, and no further step was started.")
    if report.skipped:
        lines.append("Not started:")
        lines += _alike(report.skipped)
    if report.failures and report.done:
        lines.append("Done:")
        lines += _alike(report.done)
    if not report.ok:
        lines.append(
            f"{style('red', f'{verb.capitalize()} incomplete:')} {_counts(report.done)} in {duration(seconds)}."
        )
        first = "" if report.interrupted and not report.failures else "fix the cause and "
        lines.append(f"hint: {first}run {verb.lower()} again; it continues from the current state")
    return "\n".join(lines)


def _names(dynos: Sequence[str]) -> str:
    return ", ".join(dynos) if len(dynos) <= MANY else shortened(dynos, "dyno")


def _by_ssh(report: Report) -> Iterator[str]:
    """Why servers did not pull the slug; one reason of several is said once, with their names."""
    reasons: dict[str, list[str]] = {}
    for server, reason in sorted(
        report.by_ssh.items(), key=lambda pair: (len(pair[0]), pair[0])
    ):  # they end in any order
        reasons.setdefault(reason, []).append(server)
    for reason, servers in reasons.items():
        names = ", ".join(servers) if len(servers) <= NAMED else shortened(servers, "server")
        to = "" if servers == [HERE] else f" to {names}"
        yield f"The slug was sent over SSH{to}: {one_line(reason)}"


def _folded(failures: Sequence[Failure]) -> Iterator[tuple[str, str, str]]:
    """The summary, subject and detail of each failure; one cause on several servers is said once, with their names."""
    causes: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        cause = failure.summary.removeprefix(f"{failure.server}: ")
        causes.setdefault((cause, failure.detail), []).append(failure)
    for (cause, detail), found in causes.items():
        servers = dict.fromkeys(one.server for one in found if one.summary != cause)
        subject = f"{found[0].subject} on {found[0].server}"
        yield (
            f"{', '.join(servers) if len(servers) <= NAMED else shortened(servers, 'server')}: {cause}"
            if servers
            else cause,
            subject,
            detail,
        )


def _alike(changes: Sequence[Change]) -> Iterator[str]:
    """Changes with alike ones on one line: ``~ unit of web.[3-7]``, ``- mount on grid-[1-4]``."""
    found: dict[tuple[str, str, bool], list[str]] = {}
    for change in changes:
        resource, dyno = change.resource, change.resource.dyno
        what = resource.kind if dyno or "@" in resource.name else resource.key
        found.setdefault((SYMBOLS[change.action], what, dyno is None), []).append(dyno or resource.server)
    for (symbol, what, on_server), names in found.items():
        where = shortened(dict.fromkeys(names), "server" if on_server else "dyno")
        yield f"  {symbol} {what} {'on' if on_server else 'of'} {where}"


def _counts(done: Sequence[Change]) -> str:
    counts = count(done)
    return f"{counts.add} added, {counts.change} changed, {counts.destroy} destroyed"
