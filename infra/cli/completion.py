"""``dynoctl completion``: a script that lets a shell complete dynoctl's commands and options."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import typer

VARIABLE = "_DYNOCTL_COMPLETE"
"""The environment variable that the script sets when the shell asks for completions."""


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("completion", short_help="Print a completion script for a shell.")(completion)


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="Shell to print the script for")],
) -> None:
    """Print a completion script, such as: dynoctl completion bash > /etc/bash_completion.d/dynoctl"""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # not in typer's __all__

    typer.echo(get_completion_script(prog_name="dynoctl", complete_var=VARIABLE, shell=shell))


def prepare() -> None:
    """Set up typer's completion if a shell asks for completions; otherwise do nothing."""
    if VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # not in typer's __all__

        completion_init()
