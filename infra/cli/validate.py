"""``dynoctl validate``: every error of the manifest at once, without a network."""

from __future__ import annotations

from pathlib import Path

import typer

from infra.cli.options import AsJson, File
from infra.errors import INVALID_MANIFEST, ManifestInvalid


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("validate")(validate)


def validate(file: File = Path("dyno.yaml"), as_json: AsJson = False) -> None:
    """Check the manifest; needs no network."""
    from infra.manifest import check
    from infra.registry import Everything

    manifest, diagnostics = check(file)
    if manifest is not None:
        try:
            Everything().stack(manifest)
        except ManifestInvalid as error:
            manifest, diagnostics = None, error.diagnostics
    if as_json:
        import json

        found = [diagnostic.as_json() for diagnostic in diagnostics]
        typer.echo(json.dumps({"format_version": 1, "valid": manifest is not None, "diagnostics": found}, indent=2))
        if manifest is None:
            raise typer.Exit(INVALID_MANIFEST)
        return
    if manifest is None:
        raise ManifestInvalid(diagnostics)
    dynos = sum(type_.count for type_ in manifest.dynos.values())
    servers = len(manifest.servers)
    typer.echo(
        f"{file} is valid: {manifest.app.name}, {dynos} dyno{'' if dynos == 1 else 's'} "
        f"on {servers} server{'' if servers == 1 else 's'}."
    )
