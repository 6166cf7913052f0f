"""``dynoctl init``: create a new app with its dyno.yaml, or a dyno.yaml for an existing app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("init", short_help="Create a new app, or a dyno.yaml for an existing one.")(init)


def init(
    directory: Annotated[
        Path,
        typer.Argument(help="Directory of the app; created if it does not exist", show_default="the current directory"),
    ] = Path(),
    framework: Annotated[
        str | None, typer.Option("--framework", help="Create a new app. One of: rails, sinatra, rack", metavar="NAME")
    ] = None,
) -> None:
    """Create a new app with its dyno.yaml. If the directory already holds a Rails, Sinatra or Rack app, only a
    matching dyno.yaml is created."""
    from infra.ops.init import begin
    from infra.registry import Everything

    for name in begin(directory, framework, Everything()):
        typer.echo(f"+ {directory / name}")
    step = "" if directory == Path() else f"cd {directory}, "
    typer.echo(f"\nNext: {step}add your servers to dyno.yaml, then: dynoctl validate, dynoctl plan, dynoctl apply.")
