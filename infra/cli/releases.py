"""``dynoctl releases`` and ``dynoctl rollback``: list earlier releases, and roll back to one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from infra.remote.session import Session

from infra.cli import fail
from infra.cli.apply import ApplyFlags, carry_out
from infra.cli.options import AsJson, AutoApprove, Destination, File, FileIfGiven, LockTimeout, Message, Trusts, Verbose
from infra.cli.session import PlanOptions
from infra.cli.unattended import manifest_options, refuse_unattended
from infra.cli.workers import Controllers, ProcessOptions, Workers
from infra.errors import UNREACHABLE
from infra.model.invocation import Invocation

group = typer.Typer(
    invoke_without_command=True, help="List the releases of the app, or show one.", rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    """Register the commands with ``app``."""
    app.add_typer(group, name="releases", short_help="List the releases of the app, or show one.")
    examples = "dynoctl rollback\ndynoctl rollback v7 --auto-approve"
    app.command("rollback", short_help="Roll back to an earlier release.", epilog=examples)(rollback)


@group.callback()
def releases(
    context: typer.Context,
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Show the last N releases", metavar="N")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the releases, with who made them and how they ended, from the records on the servers."""
    if context.invoked_subcommand is not None:
        return
    from dataclasses import asdict

    from infra import manifest
    from infra.fleet.inventory import targets
    from infra.fleet.problems import rollback_held
    from infra.model import release
    from infra.state.releases import survey
    from infra.views import releases as view
    from infra.views import under_way
    from infra.views.style import Style, one_line, wanted
    from infra.views.wrapping import columns, wrapped

    model = manifest.read(file, destination)
    sessions: dict[str, Session] = {}
    known = survey(model.app.name, targets(model), sessions)
    _close(sessions)
    held = release.hold(known.releases, None, model.digest)
    now, shown = release.standing(known.releases), known.releases[-lines:]
    if as_json:
        from infra.views import json_text

        document = view.document(shown, now, known.holders, known.unreachable)
        document |= {"applying": under_way.document(known.applying), "held": held and asdict(held)}
        typer.echo(json_text.indented(document))
    else:
        style = Style(wanted(sys.stdout))
        typer.echo(under_way.text(known.applying, style), nl=False)
        going_on, width = bool(known.applying), columns(sys.stdout)
        typer.echo(view.table(shown, now, known.holders, style, under_way=going_on, width=width))
        if held is not None:
            typer.echo(wrapped(style("bold", one_line(str(rollback_held(held)))), width))
        for summary in known.unreachable.values():
            fail.complain(summary)
    if known.unreachable:
        raise typer.Exit(UNREACHABLE)


@group.command("show")
def show(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="Release to show, such as v7", metavar="VERSION")],
    file: FileIfGiven = None,
    destination: Destination = None,
    as_json: AsJson = False,
) -> None:
    """Show one release in full. Only the names of its variables are shown, not their values."""
    outer = context.parent.params if context.parent is not None else {}
    file = file or outer.get("file") or Path("dyno.yaml")  # options may come before or after the subcommand
    destination = destination or outer.get("destination")
    as_json = as_json or bool(outer.get("as_json"))
    from infra import manifest
    from infra.fleet.inventory import targets
    from infra.state.release_body import names
    from infra.state.releases import body, survey
    from infra.views import releases as view
    from infra.views.wrapping import columns, wrapped

    model = manifest.read(file, destination)
    servers = targets(model)
    sessions: dict[str, Session] = {}
    try:
        known = survey(model.app.name, servers, sessions)
        release_ = known.named(version)
        holders = known.holders.get(release_.number, ())
        variables, web = names(body(model.app.name, release_, holders, sessions)) if holders else ([], [])
    finally:
        _close(sessions)
    if as_json:
        from infra.views import json_text

        values = view.as_json(release_, holders) | {"variables": variables, "web": web}
        typer.echo(json_text.indented({"format_version": 1, "release": values}))
    else:
        typer.echo(wrapped(view.details(release_, variables, web, holders), columns(sys.stdout)))


def rollback(
    version: Annotated[
        str | None,
        typer.Argument(help="Release to roll back to, such as v7", metavar="VERSION", show_default="the last good one"),
    ] = None,
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    auto_approve: AutoApprove = False,
    message: Message = "",
    verbose: Verbose = False,
    lock_timeout: LockTimeout = None,
    with_changes: Annotated[
        bool, typer.Option("--with-changes", help="Apply changes of dyno.yaml that are no part of a release, too")
    ] = False,
    trust: Trusts = None,
    workers: Workers = None,
    controllers: Controllers = None,
    as_json: AsJson = False,
) -> None:
    """Roll back to an earlier release: its slug, layers and config vars become a new release. Counts, limits, servers
    and schedules stay as they are; what dyno.yaml would change of them is left out, and named. Migrations are not
    reverted. During a rollback, complete it."""
    words = [version] if version else []
    refuse_unattended("rollback", auto_approve, as_json, *words, plan="", at=manifest_options(file, destination))
    options = PlanOptions(
        file,
        destination,
        rollback_to=version or "",
        with_changes=with_changes,
        trust=frozenset(trust or ()),
        processes=ProcessOptions.of(workers, controllers),
        quiet=as_json,
    )
    asked = Invocation("rollback", ("--with-changes",) if with_changes else ())
    carry_out(options, ApplyFlags(auto_approve, verbose, message, lock_timeout, asked), verb="rollback")


def _close(sessions: Mapping[str, Session]) -> None:
    for session in sessions.values():
        session.close()
