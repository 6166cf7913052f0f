"""``dynoctl validate``: every error of the manifest at once, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from infra.cli.options import AsJson, File
from infra.errors import INVALID_MANIFEST, ManifestInvalid

if TYPE_CHECKING:
    from infra.manifest.model import Manifest


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("validate")(validate)


def validate(file: File = Path("dyno.yaml"), as_json: AsJson = False) -> None:
    """Check dyno.yaml and show everything that is wrong with it; needs no network."""
    from infra.manifest import check

    manifest, diagnostics = check(file)
    if as_json:
        import json

        found = [diagnostic.as_json() for diagnostic in diagnostics]
        document = {"format_version": 1, "valid": manifest is not None, "diagnostics": found}
        typer.echo(json.dumps(document, indent=2))
        raise typer.Exit(INVALID_MANIFEST if manifest is None else 0)
    if manifest is None:
        raise ManifestInvalid(diagnostics)
    typer.echo(_summary(file, manifest))


def _summary(file: Path, manifest: Manifest) -> str:
    from infra.views.style import printable

    dynos = sum(type_.count for type_ in manifest.dynos.values())
    formation = f"{_count(dynos, 'dyno')} on {_count(len(manifest.servers), 'server')}"
    return f"{printable(str(file))} is valid: {manifest.app.name}, {formation}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
