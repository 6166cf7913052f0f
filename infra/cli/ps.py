"""``dynoctl ps``: the state of the dynos."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli import fail
from infra.cli.options import AsJson, Destination, File
from infra.cli.workers import Controllers, ProcessOptions, Workers, working
from infra.errors import UNREACHABLE, DynoctlError

if TYPE_CHECKING:
    from infra.manifest.model import Manifest
    from infra.model.dyno_status import Row


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
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show a line for every dyno, also if there are many alike")
    ] = False,
    workers: Workers = None,
    controllers: Controllers = None,
    as_json: AsJson = False,
) -> None:
    """Say whether the app is up and what is wrong, then list its routers, its dynos by process type and its one-off
    dynos, with the requests of the last minute."""
    from infra import manifest
    from infra.fleet import site as sites
    from infra.fleet.inventory import targets
    from infra.fleet.status import look
    from infra.registry import Everything
    from infra.views import formation
    from infra.views import site as view
    from infra.views.style import Style, wanted
    from infra.views.wrapping import columns

    model = manifest.read(file, destination)
    with working(ProcessOptions.of(workers, controllers), len(model.servers)):
        found, lost = look(model.app.name, Everything.processes, targets(model))
    site = sites.examine(model, found, lost)
    _refuse_unknown(names or (), model, site.rows, partial=bool(lost))
    if as_json:
        from infra.views import json_text

        chosen = [
            row for row in site.rows if not names or {row.dyno, row.dyno.partition(".")[0], row.server} & {*names}
        ]
        dynos = {"format_version": 1, "dynos": [view.dyno(site, row) for row in chosen]}
        types = {"types": formation.by_type(model, site.rows)}
        typer.echo(json_text.indented(dynos | types | view.document(site)))
    else:
        style = Style(wanted(sys.stdout))
        width = columns(sys.stdout)
        above = view.above(model.app.name, site, style, width)
        rows = formation.render(model, site, style, names or (), width=width, brief=not verbose and not names)
        typer.echo("\n".join(filter(None, (above, rows))))
    for summary in _failures(lost, verbose=verbose):
        fail.complain(summary)
    if lost:
        raise typer.Exit(UNREACHABLE)


def _failures(lost: Mapping[str, str], *, verbose: bool) -> list[str]:
    """Why servers are unreachable; many that are for the same reason are one line."""
    if verbose:
        return [*lost.values()]
    from infra.views import unreachable

    return [group.summary for group in unreachable.grouped({name: (why, "") for name, why in lost.items()})]


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
