"""``dynoctl lock status``: who holds the app's lock."""

from __future__ import annotations

from pathlib import Path

import typer

from infra.cli import fail
from infra.cli.options import AsJson, Destination, File
from infra.errors import UNREACHABLE, DynoctlError

app = typer.Typer(
    no_args_is_help=True, help="Inspect the lock that an apply holds on every server.", rich_markup_mode=None
)


def register(outer: typer.Typer) -> None:
    """Register the commands with ``outer``."""
    outer.add_typer(app, name="lock")


@app.callback()
def root() -> None:
    """Inspect the lock that an apply holds on every server. It is released when the session that holds it ends."""


@app.command("status")
def status(file: File = Path("dyno.yaml"), destination: Destination = None, as_json: AsJson = False) -> None:
    """Show who holds the lock on each server, since when and from where."""
    from infra import manifest
    from infra.fleet.inventory import targets
    from infra.fleet.lock import holders
    from infra.model.lock_holder import words
    from infra.views.style import printable

    model = manifest.read(file, destination)
    found = holders(model.app.name, targets(model))
    lost = {name: holder.summary for name, holder in found.items() if isinstance(holder, DynoctlError)}
    held = {name: holder for name, holder in found.items() if not isinstance(holder, DynoctlError)}
    if as_json:
        from infra.views import json_text

        typer.echo(json_text.indented({"format_version": 1, "locks": held, "unreachable": lost}))
    else:
        width = max(len(name) for name in found)
        for name, holder in held.items():
            typer.echo(f"{name:<{width}}  {'free' if holder is None else f'held by {printable(words(holder))}'}")
        for summary in lost.values():
            fail.complain(summary)
    if lost:
        raise typer.Exit(UNREACHABLE)
