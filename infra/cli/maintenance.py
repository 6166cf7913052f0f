"""``dynoctl maintenance``: the routers show a page instead of the app."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.options import AsJson, Destination, File
from infra.errors import ERROR, UNREACHABLE, DynoctlError, Unreachable


class Switch(StrEnum):
    """On: the page. Off: the app."""

    ON = "on"
    OFF = "off"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("maintenance", short_help="Show a page instead of the app, at the router.")(maintenance)


def maintenance(
    switch: Annotated[Switch, typer.Argument(help="on shows the page, off the app again.", metavar="on|off")],
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="The page: an HTML file. Without one, a plain one.", metavar="FILE")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a page with status 503 instead of the app, on all its routers at once. The dynos are left as they are."""
    from infra import manifest
    from infra.ops import maintenance as switching
    from infra.registry import Everything

    if switch is Switch.OFF and page is not None:
        raise DynoctlError("--page goes with on", "dynoctl maintenance off shows the app again.")
    model = manifest.read(file, destination)
    kind = "" if model.router is None else model.router.kind
    text = switching.read_page(page, kind) if switch is Switch.ON else None
    answers = switching.switch(model, Everything(), text)
    failed = {name: error for name, error in answers.items() if error is not None}
    done = sorted(name for name in answers if name not in failed)
    if as_json:
        import json

        errors = {name: error.summary for name, error in failed.items()}
        document = {"format_version": 1, "maintenance": switch.value, "servers": done, "failed": errors}
        typer.echo(json.dumps(document, indent=2))
    else:
        shows = "shows the maintenance page" if switch is Switch.ON else f"leads to {model.app.name}"
        for name in done:
            typer.echo(f"{name}  {shows}")
        for error in failed.values():
            typer.echo(f"Failed: {error.summary}\n{error.hint}".strip(), err=True)
    if failed:
        raise typer.Exit(UNREACHABLE if all(isinstance(one, Unreachable) for one in failed.values()) else ERROR)
