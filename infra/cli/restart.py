"""``dynoctl restart``: restart running dynos, one batch at a time."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli.interrupt import interruptible
from infra.cli.options import AsJson, Destination, File, LockTimeout
from infra.cli.report import listener_for, print_report
from infra.cli.workers import Controllers, ProcessOptions, Workers, working
from infra.errors import ERROR, OK, REJECTED, UNREACHABLE

if TYPE_CHECKING:
    from infra.engine.prepared import Prepared


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    examples = "dynoctl restart\ndynoctl restart web.2 worker"
    app.command("restart", short_help="Restart dynos, one batch at a time.", epilog=examples)(restart)


def restart(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Dynos or process types: web.2, worker", metavar="DYNO|TYPE...", show_default="all"),
    ] = None,
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    lock_timeout: LockTimeout = None,
    workers: Workers = None,
    controllers: Controllers = None,
    as_json: AsJson = False,
) -> None:
    """Restart dynos with their current release and settings, in the batches of the rollout section; a batch starts when
    the one before is healthy. Pending changes of dyno.yaml are not applied. Exits with 5 if a dyno does not come back;
    the remaining dynos are then left alone."""
    from infra import manifest
    from infra.engine.restart import prepare
    from infra.registry import Everything
    from infra.views.progress import status

    began = time.monotonic()
    model = manifest.read(file, destination)
    with working(ProcessOptions.of(workers, controllers), len(model.servers)) as connect:
        with status(quiet=as_json) as progress:
            ready = prepare(model, Everything(), names or (), connect=connect, progress=progress)
        try:
            code = _carry_out(ready, lock_timeout, began, as_json=as_json)
        finally:
            ready.fleet.close()
    raise typer.Exit(code)


def _carry_out(ready: Prepared, lock_timeout: float | None, began: float, *, as_json: bool) -> int:
    """Restart the dynos, report, and return the exit code."""
    from infra.engine.restart import Restarter
    from infra.views import restart as view
    from infra.views import stream_json
    from infra.views.style import Style, wanted
    from infra.views.wrapping import columns, wrapped

    plan = ready.plan
    if as_json:
        stream_json.write_plan(plan, ready.fleet.round_trips())
    else:
        typer.echo(wrapped(view.render(plan, Style(wanted(sys.stdout))), columns(sys.stdout)))
    if not plan.changes:
        code = UNREACHABLE if plan.unreachable else OK
        if as_json:
            stream_json.write_report(code, time.monotonic() - began)
        return code
    with listener_for(plan, as_json) as listener:
        restarter = Restarter(ready, listener, lock_timeout=lock_timeout, began=began)
        with interruptible(restarter.stop, listener.interrupted, as_json=as_json):
            report = restarter.run()
    if any(failure.unreachable for failure in report.failures):
        code = UNREACHABLE
    elif not report.ok:
        code = REJECTED if report.halted else ERROR
    else:
        code = UNREACHABLE if plan.unreachable else OK
    if as_json:
        stream_json.write_report(code, report.seconds, report)
    else:
        print_report(ready, report, "restart")
    return code
