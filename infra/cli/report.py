"""What a command shows while it changes servers, and how it ended."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from infra.cli import streams
from infra.cli.fail import note

if TYPE_CHECKING:
    from infra.engine.prepared import Prepared
    from infra.fleet.status import ServerStatus
    from infra.model.dyno_status import Row
    from infra.model.events import Report
    from infra.plan.plan import Plan
    from infra.views.progress import LiveProgress, PlainProgress
    from infra.views.stream_json import StreamProgress


def listener_for(plan: Plan, as_json: bool, *, verbose: bool = False) -> StreamProgress | PlainProgress | LiveProgress:
    """What shows the events of an apply: JSON lines, or the progress view that fits stderr."""
    from infra.engine.groups import group
    from infra.views.progress import progress
    from infra.views.stream_json import StreamProgress

    if as_json:
        return StreamProgress()
    planned: dict[str, set[str]] = {}
    for one in group(plan):
        planned.setdefault(one.server, set()).add(one.subject)
    return progress(planned, verbose=verbose)


def print_report(ready: Prepared, report: Report, verb: str, *, verbose: bool = False) -> None:
    """Print the dynos as ``ps`` does, how it ended, and as the last line what runs now. With ``verbose``, each of many
    dynos has a line."""
    from infra.fleet import site as sites
    from infra.fleet.problems import HELD
    from infra.views import formation, outcome, report_text
    from infra.views.style import Style, duration, one_line, wanted
    from infra.views.wrapping import columns, wrapped

    style = Style(wanted(sys.stdout))
    width = columns(sys.stdout)
    text = wrapped(report_text.render(report, report.seconds, verb, style), width)
    if ready.destroy:
        last = outcome.gone(ready.manifest.app.name, ready.plan, report)
    else:
        found, lost = _observed(ready, {failure.server for failure in report.failures if failure.unreachable})
        rows: Sequence[Row] | None = None if found is None else ()
        down: Collection[str] = ()
        if found:  # of servers that do not answer, the last line says what that means
            site = sites.examine(ready.manifest, found, {})
            rows, down = site.rows, {*site.down, *site.planned}
            table = formation.render(ready.manifest, site, style, width=width, brief=not verbose)
            table = table.replace("\n\n", "\n")
            told = [
                problem for problem in site.problems if problem.degrades or (problem.note == HELD and _goes_back(ready))
            ]
            wrong = [wrapped(one_line(str(problem)), width) for problem in told]
            text = "\n".join([table, *wrong, *(["", text] if text else [])])
        last = outcome.sentence(ready.manifest, ready.plan, report, rows, lost, down)
    ended = style("green", f"{verb.capitalize()} complete in {duration(report.seconds)}.")
    last = wrapped(f"{ended} {last}" if report.ok else style("red", last), width)
    try:
        typer.echo("\n".join(["", *([text, ""] if text and report.ok else [text] if text else []), last]))
    except OSError as error:  # the servers have changed, so the exit code says how that ended, not how this did
        streams.discard(sys.stdout)
        note(f"error: cannot print the report: {error.strerror}")


def _goes_back(ready: Prepared) -> bool:
    """Whether it was a rollback: who rolled back has to know what it means for the next apply."""
    return ready.plan.release is not None and bool(ready.plan.release.of) and not ready.request.running


def _observed(ready: Prepared, lost: Collection[str]) -> tuple[Mapping[str, ServerStatus] | None, Collection[str]]:
    """What the servers say, and those that do not answer. None if Ctrl-C is pressed: the report of what was done is
    still to come."""
    from infra.fleet.inventory import targets
    from infra.fleet.status import look
    from infra.registry import Everything

    app = ready.manifest.app.name
    known = [target for target in targets(ready.manifest) if target.name in ready.fleet.sessions.keys() - lost]
    try:
        found, silent = look(app, Everything.processes, known, ready.fleet.sessions)
    except KeyboardInterrupt:
        return None, ()
    # The requests of the last minute were those of what ran before.
    return {name: replace(status, traffic=None) for name, status in found.items()}, {
        *lost,
        *silent,
        *ready.plan.unreachable,
    }
