"""``dynoctl ps``: the state of the dynos."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from infra.cli.options import AsJson, Destination, File
from infra.errors import UNREACHABLE

if TYPE_CHECKING:
    from infra.model.routing import Route


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("ps", short_help="List the dynos by process type.")(ps)


def ps(file: File = Path("dyno.yaml"), destination: Destination = None, as_json: AsJson = False) -> None:
    """List the dynos by process type, with state, server, address, release, memory and restarts."""
    from infra import manifest
    from infra.fleet.inventory import targets
    from infra.fleet.status import list_dynos
    from infra.model import lock_holder, routing
    from infra.registry import Everything
    from infra.views import dynos, formation, under_way
    from infra.views.style import Style, wanted

    model = manifest.read(file, destination)
    routes: dict[str, tuple[Route, ...]] = {}
    holders: dict[str, str] = {}
    rows, lost = list_dynos(model.app.name, Everything.processes, targets(model), routes=routes, holders=holders)
    applying = lock_holder.holders(holders.values())
    closed = routing.closed(model.app.name, routes)
    down = routing.down(model.app.name, model.router.servers if model.router and rows else (), routes)
    if as_json:
        from infra.views import json_text

        types = {
            "types": formation.by_type(model, rows),
            "maintenance": closed,
            "routers": down,
            "applying": under_way.document(applying),
        }
        typer.echo(json_text.indented(dynos.document(rows, lost) | types))
    else:
        typer.echo(under_way.text(applying, Style(wanted(sys.stdout))), nl=False)
        if closed:
            typer.echo(f"Maintenance mode is on ({', '.join(sorted(closed))}). To end it: dynoctl maintenance off")
        for line in dynos.router_lines(down):
            typer.echo(line)
        typer.echo(formation.render(model, rows, Style(wanted(sys.stdout))))
        for summary in lost.values():
            typer.echo(f"error: {summary}", err=True)
    if lost:
        raise typer.Exit(UNREACHABLE)
