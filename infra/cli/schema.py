"""``dynoctl schema``: the JSON Schemas of the manifest and of a plan."""

from __future__ import annotations

from typing import Annotated, Literal

import typer


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("schema", short_help="Print the JSON Schema of dyno.yaml, or of a plan.")(schema)


def schema(
    what: Annotated[
        Literal["manifest", "plan"], typer.Argument(help="Schema of dyno.yaml, or of what plan --json prints")
    ] = "manifest",
) -> None:
    """Print a JSON Schema for an editor or a program, such as: dynoctl schema > dyno.schema.json"""
    from infra.views import json_text
    from schemas import load

    name = {"manifest": "dyno.schema.json", "plan": "plan.schema.json"}[what]
    typer.echo(json_text.indented(load(name), ascii_only=False))
