"""``dynoctl doctor``: check everything that apply needs on every server, and say how to fix what is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from infra.cli.options import AsJson, Destination, File
from infra.errors import ERROR, UNREACHABLE


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("doctor", short_help="Check everything that apply needs, on every server.")(doctor)


def doctor(file: File = Path("dyno.yaml"), destination: Destination = None, as_json: AsJson = False) -> None:
    """Check everything that apply needs, on this machine and on every server, and say how to fix each problem: logins
    and host keys, root, systemd, slugs, Ruby, disk, clock, memory, ports, databases and caches. Changes nothing."""
    from infra import manifest
    from infra.ops.doctor import examine
    from infra.registry import Everything
    from infra.views import doctor as view
    from infra.views.style import Style, wanted
    from infra.views.wrapping import columns

    report = examine(manifest.read(file, destination), Everything(), Everything.processes)
    if as_json:
        from infra.views import json_text

        typer.echo(json_text.indented(view.document(report)))
    else:
        typer.echo(view.render(report, Style(wanted(sys.stdout)), columns(sys.stdout)))
    if report.unreachable:
        raise typer.Exit(UNREACHABLE)
    if report.failed:
        raise typer.Exit(ERROR)
