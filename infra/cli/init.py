"""``dynoctl init``: a new app with its dyno.yaml, or a dyno.yaml for the app that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("init", short_help="Make an app, or a dyno.yaml for yours.")(init)


def init(
    directory: Annotated[Path, typer.Argument(help="Where; made if it is not there.")] = Path(),
    framework: Annotated[
        str | None, typer.Option("--framework", help="A new app of this framework: rails, sinatra or rack.")
    ] = None,
) -> None:
    """Make a new app with its dyno.yaml; where there is a Rails, Sinatra or Rack app, only a dyno.yaml that fits it."""
    from infra.ops.init import begin
    from infra.registry import Everything

    for name in begin(directory, framework, Everything()):
        typer.echo(f"+ {directory / name}")
    where = "" if directory == Path() else f"cd {directory}, "
    typer.echo(f"\nNext: {where}put your servers into dyno.yaml, then: dynoctl validate, dynoctl plan, dynoctl apply.")
