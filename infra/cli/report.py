"""What a command shows while it changes servers, and how it ended."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import typer

from infra.cli import streams
from infra.cli.fail import note

if TYPE_CHECKING:
    from infra.engine.prepared import Prepared
    from infra.model.dyno_status import Row
    from infra.model.events import Report
    from infra.plan.plan import Plan
    from infra.views.progress import LiveProgress, PlainProgress
    from infra.views.stream_json import StreamProgress

MOST_ROWS = 40
"""Dynos in the report; of more, only those that are not up have a line."""


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


def print_report(ready: Prepared, report: Report, seconds: float, verb: str) -> None:
    """Print the dynos as ``ps`` does, how it ended, and as the last line what runs now."""
    from infra.views import dynos, formation, outcome, report_text
    from infra.views.style import Style, duration, wanted

    style = Style(wanted(sys.stdout))
    text = report_text.render(report, seconds, verb, style)
    if ready.destroy:
        last = outcome.gone(ready.manifest.app.name, ready.plan, report)
    else:
        rows, down, lost = _observed(ready, {failure.server for failure in report.failures if failure.unreachable})
        if rows is not None:
            table = formation.render(ready.manifest, rows, style, brief=len(rows) > MOST_ROWS)
            text = "\n".join([table, *dynos.router_lines(down), *(["", text] if text else [])])
        last = outcome.sentence(ready.manifest, ready.plan, report, rows, lost)
    ended = style("green", f"{verb.capitalize()} complete in {duration(seconds)}.")
    last = f"{ended} {last}" if report.ok else style("red", last)
    try:
        typer.echo("\n".join(["", *([text, ""] if text and report.ok else [text] if text else []), last]))
    except OSError as error:  # the servers have changed, so the exit code says how that ended, not how this did
        streams.discard(sys.stdout)
        note(f"error: cannot print the report: {error.strerror}")


def _observed(ready: Prepared, lost: Collection[str]) -> tuple[list[Row] | None, Mapping[str, str], Collection[str]]:
    """The dynos, the routers that are down, and the servers that do not answer. No dynos if Ctrl-C is pressed: the
    report of what was done is still to come."""
    from infra.fleet.inventory import targets
    from infra.fleet.status import list_dynos
    from infra.model import routing
    from infra.registry import Everything

    manifest = ready.manifest
    known = [target for target in targets(manifest) if target.name in ready.fleet.sessions.keys() - lost]
    routes: dict[str, tuple[routing.Route, ...]] = {}
    try:
        rows, silent = list_dynos(manifest.app.name, Everything.processes, known, ready.fleet.sessions, routes=routes)
    except KeyboardInterrupt:
        return None, {}, ()
    routers = manifest.router.servers if manifest.router and rows else ()
    return rows, routing.down(manifest.app.name, routers, routes), {*lost, *silent, *ready.plan.unreachable}
