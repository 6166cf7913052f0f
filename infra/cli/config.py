"""``dynoctl config``: the manifest as dynoctl reads it, with the origin of each value."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from infra.cli import config_vars
from infra.cli.options import AsJson, Destination, File

SHORT = "Print the merged manifest, or get, set and unset config vars."

group = typer.Typer(invoke_without_command=True, help=SHORT, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Register the commands with ``app``."""
    config_vars.register(group)
    app.add_typer(group, name="config", short_help=SHORT)


@group.callback()
def config(
    context: typer.Context, file: File = Path("dyno.yaml"), destination: Destination = None, as_json: AsJson = False
) -> None:
    """Print the manifest merged with what it extends and with its overlay, and the file and line of each value. Secrets
    are masked. For the variables of the app, see dynoctl config get, set and unset."""
    if context.invoked_subcommand is not None:
        return
    from infra.errors import ManifestInvalid
    from infra.manifest import check
    from infra.manifest.nodes import Unusable
    from infra.manifest.overlays import load_all
    from infra.views import config as view
    from infra.views.style import Style, wanted

    _, problems = check(file, destination)
    try:
        document, _, files = load_all(file, destination)
    except Unusable as error:
        raise ManifestInvalid((error.diagnostic,)) from None
    if as_json:
        from infra.views import json_text

        found = {"format_version": 1, "files": [str(path) for path in files], "values": view.values(document)}
        found["diagnostics"] = [problem.as_json() for problem in problems]
        typer.echo(json_text.indented(found, ascii_only=False))
    else:
        typer.echo(view.render(document, Style(wanted(sys.stdout))))
    if problems:
        raise ManifestInvalid(problems)
