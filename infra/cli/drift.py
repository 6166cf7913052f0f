"""``dynoctl drift``: what was changed by hand on the servers, apart from what the manifest changes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.cli import fail
from infra.cli.options import AsJson, Destination, File
from infra.errors import CHANGES_PENDING, ERROR, OK, UNREACHABLE

Detailed = Annotated[bool, typer.Option("--detailed-exitcode", help="Exit with 2 if there is drift")]


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("drift", short_help="Show what was changed by hand on the servers.")(drift)


def drift(
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    detailed_exitcode: Detailed = False,
    as_json: AsJson = False,
) -> None:
    """Show what was changed by hand on the servers since the last apply, and who has logged in since then. The checks
    of dyno.yaml are about plans, so none of them is run. Exits with 1 if the plan has another error, which is shown."""
    from infra.cli.session import PlanOptions, prepared
    from infra.fleet.facts import newest_meta
    from infra.fleet.logins import since
    from infra.views import drift as view
    from infra.views.style import Style, wanted
    from infra.views.wrapping import columns, wrapped

    with prepared(PlanOptions(file, destination, drift=True, quiet=as_json)) as ready:
        plan = ready.plan
        found = view.drifted(plan)
        servers = list(dict.fromkeys(change.resource.server for change in found))
        moment = str(newest_meta(seen.facts for seen in ready.fleet.found.values()).get("when", ""))
        logins = since(moment, ready.fleet.sessions, servers) if moment else {}
        if as_json:
            from infra.views import json_text

            typer.echo(json_text.indented(view.document(plan, logins, moment)))
        else:
            text = view.render(plan, logins, moment, Style(wanted(sys.stdout)))
            typer.echo(wrapped(text, columns(sys.stdout), 4))
        if plan.errors:
            from infra.views import alike_errors

            fail.diagnose(alike_errors.folded(plan))
            raise typer.Exit(ERROR)
        if plan.unreachable:
            raise typer.Exit(UNREACHABLE)
        raise typer.Exit(CHANGES_PENDING if detailed_exitcode and found else OK)
