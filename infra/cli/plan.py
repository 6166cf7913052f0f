"""``dynoctl plan``: what would change, and nothing more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.options import AsJson, File


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("plan", short_help="Show what would change on the servers.")(plan)


def plan(
    file: File = Path("dyno.yaml"),
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 where changes are pending.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show every attribute of new resources.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare dyno.yaml with the live servers and show what would change."""
    from infra.cli.session import exit_code, prepared, show

    with prepared(file, quiet=as_json) as ready:
        if as_json:
            import json

            from infra.views import plan_json

            typer.echo(json.dumps(plan_json.document(ready.plan, ready.fleet.round_trips()), indent=2))
        else:
            show(ready, verbose=verbose)
        raise typer.Exit(exit_code(ready.plan, detailed=detailed_exitcode))
