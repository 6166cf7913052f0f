"""``dynoctl history``: the log of applies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.cli import fail
from infra.cli.options import AsJson, Destination, File
from infra.errors import UNREACHABLE


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("history", short_help="Show who applied what, when, and how it ended.")(history)


def history(
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Show the last N entries", metavar="N")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show who applied what, when, and how it ended, from the audit logs on the servers."""
    from infra import manifest
    from infra.fleet.inventory import targets
    from infra.model import lock_holder
    from infra.state import audit_log as audit
    from infra.views import history as view
    from infra.views import under_way
    from infra.views.style import Style, wanted
    from infra.views.wrapping import columns

    model = manifest.read(file, destination)
    holders: dict[str, str] = {}
    entries, lost = audit.read(model.app.name, targets(model), holders)
    applying = lock_holder.holders(holders.values())
    if as_json:
        from infra.views import json_text

        document = view.document(entries[-lines:], lost) | {"applying": under_way.document(applying)}
        typer.echo(json_text.indented(document))
    else:
        typer.echo(under_way.text(applying, Style(wanted(sys.stdout))), nl=False)
        typer.echo(view.table(entries[-lines:], Style(wanted(sys.stdout)), columns(sys.stdout)))
        for summary in lost.values():
            fail.complain(summary)
    if lost:
        raise typer.Exit(UNREACHABLE)
