"""``dynoctl logs``: what all dynos print, over all servers, in the order of time."""

from __future__ import annotations

import os
import re
import select
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli.fail import INTERRUPTED
from infra.cli.options import AsJson, servers_named
from infra.errors import UNREACHABLE, DynoctlError

if TYPE_CHECKING:
    from infra.manifest.model import Manifest
    from infra.ops.journal import Line, Wanted

DEFAULT = 100


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("logs", short_help="What the dynos print, merged over all servers.")(logs)


def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    lines: Annotated[
        int | None,
        typer.Option(
            "--lines", "-n", min=0, help="How many, the newest of the whole fleet. [default: 100; all with --since]"
        ),
    ] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", "-t", help="Only this process type; may be repeated.")
    ] = None,
    dynos: Annotated[list[str] | None, typer.Option("--dyno", "-d", help="Only this dyno; may be repeated.")] = None,
    servers: Annotated[
        list[str] | None, typer.Option("--server", "-s", help="Only this server; may be repeated.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Nothing older: 10m, 2h, today, 14:30, 2026-01-31T14:30.", metavar="TIME")
    ] = None,
    file: Annotated[Path, typer.Option("--file", help="The manifest.")] = Path("dyno.yaml"),
    destination: Annotated[
        str | None, typer.Option("--destination", help="Lay dyno.NAME.yaml over the manifest.", metavar="NAME")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What the dynos print, merged over all servers by time; each line says which dyno it is from."""
    from datetime import datetime

    from infra import manifest
    from infra.cli import time_argument as moments
    from infra.fleet.inventory import targets
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

    query = journals.Query(model.app.name, chosen, last, start)
    found = journals.read(query, asked)
    try:
        if not found.lost or not follow:
            _refuse_unknown(chosen, model, found.dynos, found.lines)
        for line in found.lines:
            show(line)
        sys.stdout.flush()
        if follow:
            for event in journals.follow(query, asked, found, _gone()):
                if isinstance(event, Line):
                    show(event)
                    sys.stdout.flush()
                elif isinstance(event, journals.Went):
                    typer.echo(f"Away: {printable(event.why)}. It is tried again.", err=True)
                else:
                    typer.echo(f"Back: {event.server}.", err=True)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None  # how following ends: nothing to be told
    finally:
        if not follow:
            for session in found.sessions.values():
                session.close()
    for summary in found.lost.values():
        typer.echo(f"Unreachable: {printable(summary)}", err=True)
    if found.lost:
        raise typer.Exit(UNREACHABLE)


def _types(types: Sequence[str]) -> tuple[str, ...]:
    for name in types:
        if not re.fullmatch(r"[a-z][a-z0-9]*", name):
            raise DynoctlError(f"--type {name}: that is no process type's name", "Write web; --dyno web.1 is one dyno.")
    return tuple(types)


def _names(dynos: Sequence[str]) -> tuple[str, ...]:
    from infra.model.naming import DYNO_NAME

    for name in dynos:
        if not DYNO_NAME.match(name) or name.endswith("\n"):
            raise DynoctlError(f"--dyno {name}: that is no dyno's name", "Write web.1; --type web means all of a type.")
    return tuple(dynos)


def _refuse_unknown(chosen: Wanted, model: Manifest, there: Collection[str], lines: Sequence[Line]) -> None:
    """A name that neither the manifest nor a server knows is a slip of the finger. Raises DynoctlError."""
    from infra.model.naming import dyno_order

    said = {line.dyno for line in lines}
    dynos = {f"{name}.{number}" for name, type_ in model.types.items() for number in range(1, type_.count + 1)}
    dynos |= set(there) | said
    types = {name.partition(".")[0] for name in dynos} | set(model.types)
    for name in chosen.types:
        if name not in types:
            raise DynoctlError(f"There is no process type {name}", f"There is: {', '.join(sorted(types))}.")
    for name in chosen.dynos:
        if name not in dynos:
            known = sorted(dynos, key=dyno_order)
            raise DynoctlError(f"There is no dyno {name}", f"There is: {', '.join(known)}.")


def _gone() -> Callable[[], None]:
    """Something that raises BrokenPipeError once nobody reads the pipe any more, also while there is nothing to say."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)

    def look() -> None:
        if any(event & select.POLLERR for _, event in poll.poll(0)):
            raise BrokenPipeError(os.strerror(32))

    return look
