"""``dynoctl sudoers``: print the sudo rule that a login other than root needs."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("sudoers", short_help="Print the sudo rule for a deploy login.")(sudoers)


def sudoers(user: Annotated[str, typer.Option(help="Name of the login", metavar="NAME")] = "deploy") -> None:
    """Print the smallest sudoers file that lets a login do everything dynoctl does. Such a login is
    equivalent to root."""
    from infra.ops.sudoers import rule

    typer.echo(rule(user), nl=False)
