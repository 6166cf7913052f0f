"""``dynoctl preview``: copies of the app beside production, each from a checkout, with a name and data of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli import fail
from infra.cli.apply import ApplyFlags, carry_out
from infra.cli.fail import report
from infra.cli.options import AsJson, AutoApprove, File, LockTimeout, Message
from infra.cli.session import PlanOptions
from infra.cli.unattended import manifest_options, refuse_unattended
from infra.errors import OK, UNREACHABLE, DynoctlError
from infra.model.invocation import Invocation

if TYPE_CHECKING:
    from infra.engine.prepared import Prepared
    from infra.manifest.model import Manifest

Name = Annotated[str, typer.Argument(help="Name of the preview, such as pr-12", metavar="NAME")]

app = typer.Typer(
    no_args_is_help=True, help="Run copies of the app, such as one for each branch.", rich_markup_mode=None
)


def register(outer: typer.Typer) -> None:
    """Register the commands with ``outer``."""
    outer.add_typer(app, name="preview")


@app.callback()
def root() -> None:
    """Run copies of the app beside production, such as one per branch. What is different in them is in
    dyno.preview.yaml. Other commands take -d preview:NAME."""


@app.command("up", short_help="Start a preview of the current checkout, or update it.")
def up(
    name: Name,
    file: File = Path("dyno.yaml"),
    auto_approve: AutoApprove = False,
    message: Message = "",
    lock_timeout: LockTimeout = None,
    as_json: AsJson = False,
) -> None:
    """Start a preview of the current checkout, or update it: show the plan, ask for approval, carry it out."""
    from infra.ops.previews import prepare_data

    plan, at = f"dynoctl plan -d preview:{name}", manifest_options(file, None)
    refuse_unattended("preview up", auto_approve, as_json, name, plan=plan, at=at)
    model = _model(file, name)

    def begin() -> None:
        prepare_data(model, model.preview.create if model.preview else None)

    options = PlanOptions(file, model.destination, quiet=as_json)
    asked = Invocation("preview up", (name,))
    carry_out(
        options, ApplyFlags(auto_approve, message=message, lock_timeout=lock_timeout, invocation=asked), begin=begin
    )


@app.command("down", short_help="Remove a preview, or all that have expired.")
def down(
    name: Annotated[str | None, typer.Argument(help="Name of the preview, such as pr-12", metavar="NAME")] = None,
    file: File = Path("dyno.yaml"),
    expired: Annotated[bool, typer.Option("--expired", help="Remove all previews that have expired")] = False,
    auto_approve: AutoApprove = False,
    lock_timeout: LockTimeout = None,
) -> None:
    """Remove a preview with everything that belongs to it but its volumes, and then run preview.database.drop; or all
    that have expired."""
    from infra.ops import previews

    words = (["--expired"] if expired else []) + ([] if name is None else [name])
    if len(words) != 1:
        raise DynoctlError("NAME or --expired is required, and not both", "list the previews: dynoctl preview ls")
    at = manifest_options(file, None)
    refuse_unattended("preview down", auto_approve, False, *words, plan="dynoctl preview ls", at=at)
    if name is not None:
        # A server that lost the labels may still run it.
        found, _ = previews.running(_overlay(file))
        servers = next((one.servers for one in found if one.name == name), ())
        raise typer.Exit(_remove(file, name, servers, ApplyFlags(auto_approve, lock_timeout=lock_timeout)))
    expired_ones, unreachable = _expired(file)
    code = _unreachable(unreachable)
    for number, (one, servers) in enumerate(expired_ones.items()):
        if number and one not in _expired(file)[0]:  # it was released again while another one was removed
            continue
        try:
            code = _remove(file, one, servers, ApplyFlags(auto_approve, lock_timeout=lock_timeout)) or code
        except DynoctlError as error:  # such as a lock that is taken: the others go all the same
            code = report(error)
    raise typer.Exit(code)


def _expired(file: Path) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """The servers of each preview that has expired, and why some servers are unreachable."""
    from infra.ops import previews

    found, unreachable = previews.running(_overlay(file))
    return {preview.name: preview.servers for preview in found if preview.expires < time.time()}, unreachable


def _remove(file: Path, name: str, servers: Sequence[str], flags: ApplyFlags) -> int:
    """Remove a preview from its ``servers`` and, if it was there, its data; return the exit code."""
    from infra.ops.previews import prepare_data

    model = _model(file, name)
    there = False

    def look(ready: Prepared) -> None:
        nonlocal there
        there = bool(ready.plan.changes) or ready.records_outdated()

    try:
        options = PlanOptions(file, model.destination, destroy=True, end_runs=True, also=frozenset(servers))
        flags = replace(flags, invocation=Invocation("preview down", (name,)))
        carry_out(options, flags, verb="destroy", refuse=look)
    except typer.Exit as ended:
        # Without a preview, nobody is asked for approval, and the data with that name may be of something else.
        if there and ended.exit_code == OK:
            prepare_data(model, model.preview.drop if model.preview else None)
        return int(ended.exit_code)
    return OK


@app.command("ls", short_help="List the previews.")
def ls(file: File = Path("dyno.yaml"), as_json: AsJson = False) -> None:
    """List the previews that run, with their hosts, their servers and when they expire."""
    from infra.model.ranges import shortened
    from infra.ops import previews
    from infra.views import json_text
    from infra.views.dynos import span
    from infra.views.table import line, padded
    from infra.views.wrapping import columns, wrapped

    found, unreachable = previews.running(_overlay(file))
    if as_json:
        listed = [asdict(preview) for preview in found]
        typer.echo(json_text.indented({"format_version": 1, "previews": listed, "unreachable": unreachable}))
    else:
        rows = [("PREVIEW", "HOST", "SERVERS", "EXPIRES")]
        for preview in found:
            left = preview.expires - time.time()
            when = f"in {span(int(left))}" if left > 0 else "expired"
            rows.append((preview.name, preview.host, shortened(preview.servers, "server"), when))
        for cells in padded(rows) if found else ():
            typer.echo(wrapped(line(cells), columns(sys.stdout)))
        if not found and not unreachable:
            typer.echo("No previews. To start one: dynoctl preview up NAME")
    if code := _unreachable(unreachable):
        raise typer.Exit(code)


def _unreachable(errors: dict[str, str]) -> int:
    for summary in errors.values():
        fail.complain(summary)
    return UNREACHABLE if errors else OK


def _overlay(file: Path) -> Manifest:
    """What all previews have in common, with the name of the app itself and all its servers."""
    from infra.manifest.previews import ALL

    model = _model(file, "0", (ALL,))  # a name that any app has room for
    return replace(model, app=replace(model.app, name=model.app.name.removesuffix("-0")))


def _model(file: Path, name: str, also: Collection[str] = ()) -> Manifest:
    from infra import manifest
    from infra.manifest.previews import destination

    return manifest.read(file, destination(name), also=also)
