"""``dynoctl run``: one command in a dyno of its own, with this terminal or these pipes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from infra.cli.options import Destination, File, servers_named

TTL = "24h"

TIMED_OUT = 124
"""As timeout(1) ends."""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    # All that follows the command's first word is the command's own.
    settings = {"allow_interspersed_args": False}
    app.command("run", short_help="Run one command in a dyno of its own.", context_settings=settings)(run)


def run(
    command: Annotated[list[str], typer.Argument(help="The command and its words.", metavar="COMMAND...")],
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    server: Annotated[
        str | None, typer.Option("--server", "-s", help="On this server. By itself the least loaded one.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", help="Set a variable; NAME alone takes your own value.", metavar="NAME[=VALUE]"),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Start it, print its name, and leave it.")] = False,
    no_tty: Annotated[bool, typer.Option("--no-tty", help="No terminal, even where there is one.")] = False,
    ttl: Annotated[
        str, typer.Option(help="End it after this time: 90s, 10m, 2h, 1d; 0 means never.", metavar="TIME")
    ] = TTL,
) -> None:
    """Run one command as the app runs now: same slug, variables, limits and sandbox, a user of its own, no port.
    Nothing is left of it. Its exit status is this one's; a signal gives 128 and its number. One word by itself is a
    line for a shell."""
    from infra import manifest
    from infra.cli import pump
    from infra.fleet.inventory import targets
    from infra.model.run_request import Wish
    from infra.ops import one_off
    from infra.registry import Everything
    from infra.remote.attached import Attached
    from infra.remote.attached import detach as leave

    own = pump.here() and not no_tty and not detach
    variables = one_off.variables(env or (), os.environ)
    kind = os.environ.get("TERM", "") if own else ""
    if own:
        variables = {"TERM": kind or "dumb", **variables}
    how: Literal["terminal", "pipe", "detached"] = "detached" if detach else "terminal" if own else "pipe"
    wish = Wish(one_off.words(command), how, variables, one_off.seconds(ttl))
    model = manifest.read(file, destination)
    app, everything = model.app.name, Everything()
    place = one_off.find(app, everything.runs, servers_named([] if server is None else [server], targets(model)))
    session, name = place.session, everything.runs.name(app, wish.nonce)
    argv, environment = everything.runs.argv(app, place.base, wish), everything.runs.environment(wish)
    try:
        if detach:
            leave(session, name, argv, environment)
            typer.echo(f"run.{wish.nonce}")
            typer.echo(f"It runs on {session.name}. What it says: dynoctl logs -d run.{wish.nonce}", err=True)
            return
        if sys.stderr.isatty():
            typer.echo(f"Running on {session.name} as run.{wish.nonce}.", err=True)
        attached, began = Attached(session, name, argv, environment), time.monotonic()
        try:
            status = pump.terminal(attached, kind or "dumb") if own else pump.piped(attached)
        finally:
            attached.close()
        if status and wish.seconds and time.monotonic() - began >= wish.seconds:
            typer.echo(f"It was ended after {ttl}, as --ttl says.", err=True)
            status = TIMED_OUT
    finally:
        session.close()
    raise typer.Exit(status)
