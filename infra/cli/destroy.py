"""``dynoctl destroy``: remove everything of the app; what a one-off dyno needs only if it may be ended."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.apply import ApplyFlags, carry_out
from infra.cli.grouped_help import LOST, RECORDS
from infra.cli.options import AsJson, AutoApprove, Destination, File, LockTimeout, Trusts, Verbose
from infra.cli.session import PlanOptions
from infra.cli.unattended import manifest_options, refuse_unattended
from infra.cli.workers import Controllers, ProcessOptions, Workers
from infra.errors import DynoctlError


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    examples = "dynoctl destroy\ndynoctl destroy -d staging --auto-approve"
    app.command("destroy", short_help="Remove everything that belongs to this app.", epilog=examples)(destroy)


def destroy(
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    auto_approve: AutoApprove = False,
    verbose: Verbose = False,
    lock_timeout: LockTimeout = None,
    forget: Annotated[
        list[str] | None,
        typer.Option(
            "--forget",
            help="Unreachable server that is gone (repeatable)",
            metavar="SERVER",
            rich_help_panel=LOST,
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Even if that server is up: its dynos may stay", rich_help_panel=LOST),
    ] = False,
    end_runs: Annotated[bool, typer.Option("--end-runs", help="End one-off dynos that are running")] = False,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over", help="Also what another manifest of this app.name applied", rich_help_panel=RECORDS
        ),
    ] = False,
    trust: Trusts = None,
    workers: Workers = None,
    controllers: Controllers = None,
    as_json: AsJson = False,
) -> None:
    """Remove everything that belongs to this app from its servers, and nothing else. While one-off dynos are running,
    it is refused without --end-runs. While a server is unreachable, it exits with 4, and what a router on it may lead
    to is kept; with --forget, it ends without that server."""
    if force and not forget:
        raise DynoctlError("--force requires --forget", "dynoctl destroy --forget SERVER --force")
    refuse_unattended("destroy", auto_approve, as_json, plan="", at=manifest_options(file, destination))
    options = PlanOptions(
        file,
        destination,
        destroy=True,
        forget=frozenset(forget or ()),
        force=force,
        end_runs=end_runs,
        take_over=take_over,
        trust=frozenset(trust or ()),
        processes=ProcessOptions.of(workers, controllers),
        quiet=as_json,
    )
    carry_out(options, ApplyFlags(auto_approve, verbose, lock_timeout=lock_timeout), verb="destroy")
