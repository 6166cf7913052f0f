"""``dynoctl ps``: the state of the dynos."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli.options import AsJson, Destination, File
from infra.errors import UNREACHABLE, DynoctlError

if TYPE_CHECKING:
    from infra.manifest.model import Manifest
    from infra.model.dyno_status import Row
    from infra.model.routing import Route


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("ps", short_help="List the dynos by process type.")(ps)


def ps(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Process types, dynos or servers to list", metavar="NAME...", show_default="all"),
    ] = None,
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    as_json: AsJson = False,
) -> None:
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
    _refuse_unknown(names or (), model, rows, partial=bool(lost))
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
        chosen = [row for row in rows if not names or {row.dyno, row.dyno.partition(".")[0], row.server} & set(names)]
        typer.echo(json_text.indented(dynos.document(chosen, lost) | types))
    else:
        typer.echo(under_way.text(applying, Style(wanted(sys.stdout))), nl=False)
        if closed:
            typer.echo(f"Maintenance mode is on ({', '.join(sorted(closed))}). To end it: dynoctl maintenance off")
        for line in dynos.router_lines(down):
            typer.echo(line)
        typer.echo(formation.render(model, rows, Style(wanted(sys.stdout)), names or ()))
        for summary in lost.values():
            typer.echo(f"error: {summary}", err=True)
    if lost:
        raise typer.Exit(UNREACHABLE)


def _refuse_unknown(names: Sequence[str], model: Manifest, rows: Sequence[Row], *, partial: bool) -> None:
    """Raise DynoctlError for a name that is no process type, dyno or server. While servers are unreachable, a dyno may
    be on one of them."""
    from infra.model.naming import dyno_order

    types = {row.dyno.partition(".")[0] for row in rows} | set(model.types)
    dynos = sorted({row.dyno for row in rows}, key=dyno_order)
    servers = [server.name for server in model.servers]
    for name in names:
        if name not in {*types, *dynos, *servers} and not (partial and name.partition(".")[0] in types):
            known = ", ".join([*sorted(types), *dynos[:10], *servers[:10]])
            raise DynoctlError(f"no such process type, dyno or server: {name}", f"available: {known}")
