"""``dynoctl config``: the manifest as dynoctl reads it, with the origin of each value."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from infra.cli.options import AsJson, Destination, File


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("config", short_help="Print the merged manifest, with the origin of each value.")(config)


def config(file: File = Path("dyno.yaml"), destination: Destination = None, as_json: AsJson = False) -> None:
    """Print the manifest merged with what it extends and with its overlay, and the file and line of each value. Secrets
    are masked."""
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
        typer.echo(json_text.indented(found, ascii_only=False))
    else:
        typer.echo(view.render(document, Style(wanted(sys.stdout))))
    if problems:
        raise ManifestInvalid(problems)
