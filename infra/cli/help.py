"""``dynoctl help`` and ``dynoctl version``: the same as ``--help`` and ``--version``."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Register the commands with ``app``."""
    app.command("help", short_help="Show the help of a command.")(show)
    app.command("version", short_help="Print the version.")(version)


def show(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(help="Command to show the help of", metavar="COMMAND...", show_default="all commands"),
    ] = None,
) -> None:
    """Show the help of a command, such as: dynoctl help plan"""
    from infra.cli.command_line import read

    root = context.find_root()
    words = [*read(root.command, command or ()), "--help"]
    root.command.main(args=words, prog_name="dynoctl", standalone_mode=False)


def version() -> None:
    """Print the version of dynoctl"""
    from infra import __version__

    typer.echo(f"dynoctl {__version__}")
