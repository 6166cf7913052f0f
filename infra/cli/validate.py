"""``dynoctl validate``: every error of the manifest at once, without a network."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("validate")(validate)


def validate() -> None:
    """Check the manifest; needs no network."""
