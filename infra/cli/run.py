"""``dynoctl run``: run one command in a one-off dyno, connected to this terminal or to pipes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from infra.cli import fail
from infra.cli.options import Destination, File, servers_named

TTL = "24h"

TIMED_OUT = 124
"""The exit status of timeout(1) when the time is over."""


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    # Everything after the command's first word belongs to the command.
    settings = {"allow_interspersed_args": False}
    examples = "dynoctl run irb\ndynoctl run -e RAILS_ENV=production bundle exec rake db:seed"
    says = "Run one command in a one-off dyno."
    app.command("run", short_help=says, epilog=examples, context_settings=settings)(run)


def run(
    command: Annotated[list[str], typer.Argument(help="Command to run, with its arguments", metavar="COMMAND...")],
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    server: Annotated[
        str | None,
        typer.Option("--server", "-s", help="Server to run on", metavar="SERVER", show_default="the least loaded"),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env", "-e", help="Set a variable; NAME alone passes on your value (repeatable)", metavar="NAME[=VALUE]"
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Start the command, print its name and return")] = False,
    no_tty: Annotated[bool, typer.Option("--no-tty", help="Do not use a terminal, even if there is one")] = False,
    ttl: Annotated[
        str, typer.Option(help="End the command after this time: 90s, 10m, 2h, 1d; 0 for no limit", metavar="TIME")
    ] = TTL,
) -> None:
    """Run one command in a one-off dyno with the slug, variables, limits and sandbox of the current release, a user of
    its own and no port. Nothing of it remains. dynoctl exits with the command's status, or with 128 plus the number of
    the signal that ended it. A single argument is run by a shell."""
    from infra import manifest
    from infra.cli import pump
    from infra.fleet.inventory import targets
    from infra.model.run_request import RunRequest
    from infra.ops import one_off
    from infra.registry import Everything
    from infra.remote.attached import Attached
    from infra.remote.attached import detach as leave

    own = pump.interactive() and not no_tty and not detach
    variables = one_off.variables(env or (), os.environ)
    kind = os.environ.get("TERM", "") if own else ""
    if own:
        variables = {"TERM": kind or "dumb", **variables}
    mode: Literal["terminal", "pipe", "detached"] = "detached" if detach else "terminal" if own else "pipe"
    request = RunRequest(one_off.arguments(command), mode, variables, one_off.seconds(ttl))
    model = manifest.read(file, destination)
    app, everything = model.app.name, Everything()
    place = one_off.find(model, everything.runs, servers_named([] if server is None else [server], targets(model)))
    session, name = place.session, everything.runs.name(app, request.nonce)
    argv, environment = everything.runs.argv(app, place.base, request), everything.runs.environment(request)
    try:
        if detach:
            leave(session, name, argv, environment)
            typer.echo(f"run.{request.nonce}")
            fail.say(f"Running on {session.name}. To see its output: dynoctl logs --dyno run.{request.nonce}")
            return
        if sys.stderr.isatty():
            typer.echo(f"Running on {session.name} as run.{request.nonce}.", err=True)
        attached, began = Attached(session, name, argv, environment), time.monotonic()
        try:
            status = pump.terminal(attached, kind or "dumb") if own else pump.piped(attached)
        finally:
            attached.close()
        if status and request.seconds and time.monotonic() - began >= request.seconds:
            typer.echo(f"The command was ended after {ttl} (--ttl).", err=True)
            status = TIMED_OUT
    finally:
        session.close()
    raise typer.Exit(status)
