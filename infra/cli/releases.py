"""``dynoctl releases`` and ``dynoctl rollback``: what ran, and the way back to it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from infra.remote.session import Session

from infra.cli.apply import AutoApprove, How, LockTimeout, Message, Verbose, carry_out, refuse_unattended
from infra.cli.options import AsJson, Destination, File
from infra.cli.session import Wish
from infra.errors import UNREACHABLE

group = typer.Typer(invoke_without_command=True, help="What was released, and how it ended.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(group, name="releases", short_help="What was released, and how it ended.")
    app.command("rollback", short_help="Go back to an earlier release.")(rollback)


@group.callback()
def releases(
    context: typer.Context,
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many, the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """What was released, by whom, and how it ended, as the servers remember it."""
    if context.invoked_subcommand is not None:
        return
    from infra import manifest
    from infra.fleet.inventory import targets
    from infra.model import release
    from infra.state.releases import survey
    from infra.views import releases as view
    from infra.views.style import Style, wanted

    model = manifest.read(file, destination)
    sessions: dict[str, Session] = {}
    known = survey(model.app.name, targets(model), sessions)
    _close(sessions)
    now, shown = release.current(known.releases), known.releases[-lines:]
    if as_json:
        import json

        typer.echo(json.dumps(view.document(shown, now, known.holders, known.lost), indent=2))
    else:
        typer.echo(view.table(shown, now, known.holders, Style(wanted(sys.stdout))))
        for summary in known.lost.values():
            typer.echo(f"Unreachable: {summary}", err=True)
    if known.lost:
        raise typer.Exit(UNREACHABLE)


@group.command("show")
def show(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="A release: v7.", metavar="VERSION")],
    file: Annotated[Path | None, typer.Option("--file", "-f", help="The manifest.  [default: dyno.yaml]")] = None,
    destination: Destination = None,
    as_json: AsJson = False,
) -> None:
    """One release in full. Of its variables only the names are shown."""
    outer = context.parent.params if context.parent is not None else {}
    file = file or outer.get("file") or Path("dyno.yaml")  # said before the command or after it
    destination = destination or outer.get("destination")
    as_json = as_json or bool(outer.get("as_json"))
    from infra import manifest
    from infra.fleet.inventory import targets
    from infra.state.release_body import names
    from infra.state.releases import body, survey
    from infra.views import releases as view

    model = manifest.read(file, destination)
    servers = targets(model)
    sessions: dict[str, Session] = {}
    try:
        known = survey(model.app.name, servers, sessions)
        one = known.named(version)
        holders = known.holders.get(one.number, ())
        variables, web = names(body(model.app.name, one, holders, sessions)) if holders else ([], [])
    finally:
        _close(sessions)
    if as_json:
        import json

        values = view.as_json(one, holders) | {"variables": variables, "web": web}
        typer.echo(json.dumps({"format_version": 1, "release": values}, indent=2))
    else:
        typer.echo(view.one_release(one, variables, web, holders))


def rollback(
    version: Annotated[
        str | None,
        typer.Argument(help="The release to go back to: v7. By itself the last good one.", metavar="VERSION"),
    ] = None,
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    auto_approve: AutoApprove = False,
    message: Message = "",
    verbose: Verbose = False,
    lock_timeout: LockTimeout = 0,
    as_json: AsJson = False,
) -> None:
    """Go back to an earlier release: its slug, layers and environment, as a new release. Migrations are not undone."""
    from infra import manifest
    from infra.fleet.inventory import targets
    from infra.registry import Everything
    from infra.state.releases import stored

    refuse_unattended("rollback", auto_approve, as_json)
    model = manifest.read(file, destination)
    sessions: dict[str, Session] = {}
    try:
        wanted = stored(model.app.name, version, targets(model), Everything().fits, sessions)
        how = How(auto_approve, verbose, message or f"rollback to v{wanted.number}", lock_timeout)
        carry_out(Wish(file, destination, stored=wanted, sessions=sessions, quiet=as_json), how, verb="rollback")
    finally:
        _close(sessions)


def _close(sessions: Mapping[str, Session]) -> None:
    for session in sessions.values():
        session.close()
