"""``dynoctl sudoers``: print the sudo rule that a login other than root needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.options import Destination, File
from infra.errors import DynoctlError


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("sudoers", short_help="Print the sudo rule for a deploy login.")(sudoers)


def sudoers(
    user: Annotated[str, typer.Option(help="Name of the login", metavar="NAME")] = "deploy",
    read_only: Annotated[
        bool, typer.Option("--read-only", help="For a login that can plan and change nothing")
    ] = False,
    program: Annotated[
        bool, typer.Option("--program", help="With --read-only, print the program that the rule allows")
    ] = False,
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
) -> None:
    """Print the smallest sudoers file that lets a login do everything dynoctl does. Such a login is
    equivalent to root. With --read-only, the login can only observe the app of dyno.yaml, for plan --untrusted."""
    from infra.ops.sudoers import read_only_program, read_only_rule, rule

    if not read_only:
        if program:
            raise DynoctlError("--program requires --read-only", "dynoctl sudoers --read-only --program")
        typer.echo(rule(user), nl=False)
        return
    from infra import manifest
    from infra.registry import Everything

    model = manifest.read(file, destination)
    text = read_only_program(model, Everything())
    typer.echo(text if program else read_only_rule(user, model.app.name, text), nl=False)
