"""``dynoctl sudoers``: the smallest sudo rule with which a login that is not root will do."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("sudoers", short_help="Print the sudo rule for a deploy login.")(sudoers)


def sudoers(user: Annotated[str, typer.Option(help="The login.", metavar="NAME")] = "deploy") -> None:
    """Print the smallest sudoers file with which a login can do all that dynoctl does. Such a login is root's equal."""
    from infra.ops.sudoers import rule

    typer.echo(rule(user), nl=False)
