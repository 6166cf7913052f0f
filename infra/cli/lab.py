"""``dynoctl lab``: a fleet of real servers on this machine."""

from __future__ import annotations

import typer

app = typer.Typer(help="Run a fleet of real servers (systemd, sshd) on this machine.", no_args_is_help=True)


@app.command()
def up() -> None:
    """Boot the fleet."""
