"""``dynoctl completion``: a script that teaches a shell dynoctl's commands and options."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import typer

VARIABLE = "_DYNOCTL_COMPLETE"
"""Set by such a script when it asks for words."""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("completion", short_help="Print a completion script for a shell.")(completion)


def completion(shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="The shell.")]) -> None:
    """Print a completion script: dynoctl completion bash > /etc/bash_completion.d/dynoctl"""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # typer says so in no __all__

    typer.echo(get_completion_script(prog_name="dynoctl", complete_var=VARIABLE, shell=shell))


def prepare() -> None:
    """Make ready to answer a shell that asks for words; nothing where none does."""
    if VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # typer says so in no __all__

        completion_init()
