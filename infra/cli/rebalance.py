"""``dynoctl rebalance``: move dynos until they are spread evenly over the servers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.apply import ApplyFlags, carry_out
from infra.cli.options import (
    AsJson,
    AutoApprove,
    Destination,
    File,
    LockTimeout,
    Message,
    Parallelism,
    SkipUnreachable,
    Trusts,
    Verbose,
)
from infra.cli.session import PlanOptions
from infra.cli.unattended import manifest_options, refuse_unattended
from infra.cli.workers import Controllers, ProcessOptions, Workers
from infra.model.invocation import Invocation
from infra.remote.parallel import AT_ONCE


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("rebalance", short_help="Move dynos until they are spread evenly over the servers.")(rebalance)


def rebalance(
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    auto_approve: AutoApprove = False,
    message: Message = "",
    verbose: Verbose = False,
    lock_timeout: LockTimeout = None,
    with_changes: Annotated[
        bool, typer.Option("--with-changes", help="Apply all other changes of dyno.yaml and the source, too")
    ] = False,
    trust: Trusts = None,
    parallelism: Parallelism = AT_ONCE,
    workers: Workers = None,
    controllers: Controllers = None,
    skip_unreachable: SkipUnreachable = False,
    as_json: AsJson = False,
) -> None:
    """Move as few dynos of the running release as make the placement even, such as after a server came back: show the
    plan, ask for approval, apply it. Other changes of dyno.yaml and the source are left out, and named. To see or save
    only the plan: dynoctl plan --rebalance."""
    at = manifest_options(file, destination)
    refuse_unattended("rebalance", auto_approve, as_json, plan="dynoctl plan --rebalance", at=at)
    options = PlanOptions(
        file,
        destination,
        rebalance=True,
        with_changes=with_changes,
        trust=frozenset(trust or ()),
        parallelism=parallelism,
        processes=ProcessOptions.of(workers, controllers),
        skip_unreachable=skip_unreachable,
        quiet=as_json,
    )
    flags = ApplyFlags(auto_approve, verbose, message, lock_timeout, Invocation("rebalance"))
    carry_out(options, flags, verb="rebalance")
