"""``dynoctl logs``: the output of all dynos on all servers, in order of time."""

from __future__ import annotations

import os
import re
import select
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli import fail
from infra.cli.fail import INTERRUPTED
from infra.cli.options import AsJson, Destination, File, servers_named
from infra.errors import UNREACHABLE, DynoctlError

if TYPE_CHECKING:
    from infra.manifest.model import Manifest
    from infra.ops.journal import Wanted

DEFAULT = 100


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    says = "Show the output of dynos and routers, merged from all servers."
    examples = "dynoctl logs --follow\ndynoctl logs --since 10m -t worker"
    app.command("logs", short_help=says, epilog=examples)(logs)


def logs(
    follow: Annotated[
        bool, typer.Option("--follow", help="Keep printing new lines until Ctrl-C; -f without FILE is the same")
    ] = False,
    lines: Annotated[
        int | None,
        typer.Option(
            "--lines",
            "-n",
            min=0,
            help="Show the last N lines, over all servers",
            metavar="N",
            show_default="100, or all with --since",
        ),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", "-t", help="Show only this process type, or router (repeatable)", metavar="TYPE"),
    ] = None,
    dynos: Annotated[
        list[str] | None, typer.Option("--dyno", help="Show only this dyno (repeatable)", metavar="DYNO")
    ] = None,
    servers: Annotated[
        list[str] | None, typer.Option("--server", "-s", help="Show only this server (repeatable)", metavar="SERVER")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Oldest line to show: 10m, 2h, today, 14:30, 2026-01-31T14:30", metavar="TIME")
    ] = None,
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    as_json: AsJson = False,
) -> None:
    """Show the output of the dynos and the requests to the routers, merged from all servers by time. Each line names
    its dyno, or router."""
    from datetime import datetime

    from infra import manifest
    from infra.cli import time_argument as moments
    from infra.fleet.inventory import targets
    from infra.ops import log_history
    from infra.ops import logs as journals
    from infra.ops.journal import Line, Wanted
    from infra.views import logs as view
    from infra.views.style import printable, wanted

    start = None if since is None else moments.since(since, datetime.now().astimezone())
    last = lines if lines is not None or since is not None else DEFAULT
    model = manifest.read(file, destination)
    chosen = Wanted(_types(types or ()), _names(dynos or ()))
    asked = servers_named(servers or (), targets(model))
    color = wanted(sys.stdout)

    def show(line: Line) -> None:
        sys.stdout.write((view.as_json(line) if as_json else view.text(line, color=color)) + "\n")

    query = log_history.Query(model.app.name, chosen, last, start)
    found = log_history.read(query, asked)
    try:
        if not found.lost or not follow:
            _refuse_unknown(chosen, model, found.dynos)
        shown = 0
        for shown, line in enumerate(found.lines, 1):  # noqa: B007 - how many there were
            show(line)
        sys.stdout.flush()
        if not (shown or follow or found.lost or as_json):
            typer.echo(_nothing(model.app.name, found.dynos), err=True)
        for name, count in found.long.items():
            entries = "1 log entry" if count == 1 else f"{count} log entries"
            typer.echo(f"warning: {name}: {entries} of more than 1 MiB left out", err=True)
        if follow:
            for event in journals.follow(query, asked, found, _broken_pipe_check()):
                if isinstance(event, Line):
                    show(event)
                    sys.stdout.flush()
                elif isinstance(event, journals.TooLong):
                    typer.echo(f"warning: {event.server}: 1 log entry of more than 1 MiB left out", err=True)
                elif isinstance(event, journals.Lost):
                    typer.echo(f"warning: {event.server} is unreachable, retrying: {printable(event.why)}", err=True)
                else:
                    typer.echo(f"note: {event.server} is reachable again", err=True)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None  # the usual way to end --follow, so no message
    finally:
        if not follow:
            for session in found.sessions.values():
                session.close()
    for summary in found.lost.values():
        fail.complain(summary)
    if found.lost:
        raise typer.Exit(UNREACHABLE)


def _nothing(app: str, dynos: Collection[str]) -> str:
    """Why there are no lines. ``dynos`` are those of which the servers know."""
    if dynos:
        return "No log lines to show."
    return f"No log lines: no dyno of {app} runs. To start those of dyno.yaml: dynoctl apply"


def _types(types: Sequence[str]) -> tuple[str, ...]:
    for name in types:
        if not re.fullmatch(r"[a-z][a-z0-9]*", name):
            raise DynoctlError(
                f"invalid process type for --type: {name}", "such as --type web; for one dyno: --dyno web.1"
            )
    return tuple(types)


def _names(dynos: Sequence[str]) -> tuple[str, ...]:
    from infra.model.naming import DYNO_NAME

    for name in dynos:
        if not DYNO_NAME.match(name):
            raise DynoctlError(
                f"invalid dyno name for --dyno: {name}", "such as --dyno web.1; for all of a type: --type web"
            )
    return tuple(dynos)


def _refuse_unknown(chosen: Wanted, model: Manifest, running: Collection[str]) -> None:
    """Raise DynoctlError for a name that neither the manifest nor a server knows: probably a typo."""
    from infra.model.naming import dyno_order

    dynos = {f"{name}.{number}" for name, type_ in model.types.items() for number in range(1, type_.count + 1)}
    dynos |= set(running)
    types = {name.partition(".")[0] for name in dynos} | set(model.types)
    types |= {"router"} if model.router is not None else set()
    for name in chosen.types:
        if name not in types:
            raise DynoctlError(f"no such process type: {name}", f"available: {', '.join(sorted(types))}")
    for name in chosen.dynos:
        if name not in dynos:
            known = sorted(dynos, key=dyno_order)
            raise DynoctlError(f"no such dyno: {name}", f"available: {', '.join(known)}")


def _broken_pipe_check() -> Callable[[], None]:
    """A function that raises BrokenPipeError once the reader of stdout is gone, even while nothing is printed."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)

    def check() -> None:
        if any(event & select.POLLERR for _, event in poll.poll(0)):
            raise BrokenPipeError(os.strerror(32))

    return check
