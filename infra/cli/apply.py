"""``dynoctl apply``: show the plan, ask for approval, carry it out, report."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as replace_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli import fail
from infra.cli.interrupt import interruptible
from infra.cli.options import (
    AsJson,
    AutoApprove,
    Destination,
    Evacuates,
    Excludes,
    FileIfGiven,
    Force,
    Forgets,
    LockTimeout,
    Message,
    OverRollback,
    Parallelism,
    Replaces,
    SkipUnreachable,
    TakeOver,
    Targets,
    Trusts,
    Verbose,
    WithChanges,
    refuse_without_effect,
    selection,
)
from infra.cli.report import listener_for, print_report
from infra.cli.session import PlanOptions, exit_code, prepared, remember, show
from infra.cli.unattended import manifest_options, refuse_unattended, repeated
from infra.cli.workers import Controllers, ProcessOptions, Workers
from infra.errors import ERROR, OK, REJECTED, UNREACHABLE, DynoctlError
from infra.manifest.paths import exists
from infra.model.invocation import BY_PLAN, Invocation
from infra.remote.parallel import AT_ONCE

if TYPE_CHECKING:
    from infra.engine.prepared import Prepared
    from infra.model.events import Report
    from infra.views.progress import LiveProgress, PlainProgress
    from infra.views.stream_json import StreamProgress


@dataclass(frozen=True)
class ApplyFlags:
    """What the command line says about carrying out a plan. ``lock_timeout`` is in seconds."""

    auto_approve: bool
    verbose: bool = False
    message: str = ""
    lock_timeout: float | None = None
    invocation: Invocation = BY_PLAN
    """What the audit log says was asked for."""


Begin = Callable[[], tuple[str, str] | None]

EXAMPLES = """\
dynoctl apply
dynoctl apply -d staging --auto-approve -m "Say good afternoon"
dynoctl apply --target grid-2"""

MAX_PLANS = 5
"""How many times an apply that nobody is asked about may plan before it gives up."""


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("apply", short_help="Make the servers match dyno.yaml.", epilog=EXAMPLES)(apply)


def apply(
    plan_file: Annotated[
        Path | None,
        typer.Argument(help="Saved plan to apply, without asking for approval", metavar="PLAN", readable=False),
    ] = None,
    file: FileIfGiven = None,
    destination: Destination = None,
    auto_approve: AutoApprove = False,
    message: Message = "",
    verbose: Verbose = False,
    lock_timeout: LockTimeout = None,
    forget: Forgets = None,
    evacuate: Evacuates = None,
    force: Force = False,
    take_over: TakeOver = False,
    target: Targets = None,
    exclude: Excludes = None,
    replace: Replaces = None,
    over_rollback: OverRollback = False,
    trust: Trusts = None,
    with_changes: WithChanges = False,
    parallelism: Parallelism = AT_ONCE,
    workers: Workers = None,
    controllers: Controllers = None,
    skip_unreachable: SkipUnreachable = False,
    as_json: AsJson = False,
) -> None:
    """Make the servers match dyno.yaml: show the plan, ask for approval, carry it out."""
    options = PlanOptions(
        file or Path("dyno.yaml"),
        destination,
        forget=frozenset(forget or ()),
        evacuate=frozenset(evacuate or ()),
        force=force,
        take_over=take_over,
        selection=selection(target, exclude, replace),
        over_rollback=over_rollback,
        trust=frozenset(trust or ()),
        with_changes=with_changes,
        parallelism=parallelism,
        processes=ProcessOptions.of(workers, controllers),
        skip_unreachable=skip_unreachable,
        quiet=as_json,
    )
    flags = ApplyFlags(auto_approve, verbose, message, lock_timeout)
    if plan_file is None:
        refuse_without_effect(force=force, with_changes=with_changes, evacuate=evacuate, forget=forget)
        lists = (("--target", target), ("--exclude", exclude), ("--replace", replace))
        servers = (("--evacuate", evacuate), ("--trust", trust))
        switches = {"--force": force and evacuate, "--take-over": take_over, "--over-rollback": over_rollback}
        at = manifest_options(file, destination)
        at += [*repeated("PATTERN", *lists), *repeated("SERVER", *servers)]
        at += [option for option, given in {**switches, "--with-changes": with_changes}.items() if given]
        words = [*repeated("SERVER", ("--forget", forget)), *(["--force"] if force and not evacuate else [])]
        refuse_unattended("apply", auto_approve, as_json, *words, at=at)
        carry_out(options, flags)
        return
    chosen = (file, destination, forget, evacuate, force, take_over, over_rollback, trust, with_changes)
    if any(chosen) or target or exclude or replace:
        made = "choose these when the plan is made: dynoctl plan --out FILE"
        raise DynoctlError(
            f"the saved plan {plan_file} cannot be combined with --file, --destination, --forget, --evacuate, --force, "
            "--take-over, --target, --exclude, --replace, --over-rollback, --trust or --with-changes",
            f"apply without a saved plan: dynoctl apply --forget {forget[0]}" if forget else made,
        )
    _apply_saved(plan_file, options, flags)


def _apply_saved(plan_file: Path, options: PlanOptions, flags: ApplyFlags) -> None:
    """Apply a saved plan. Its options were chosen when it was made, and its review was the approval."""
    from infra.engine import plan_file as saved_plan

    try:
        saved = saved_plan.read(plan_file)
    except DynoctlError as error:
        if not plan_file.suffix and plan_file.parent == Path() and not exists(plan_file):
            hint = f"to apply only {plan_file}: dynoctl apply --target {plan_file}; to save a plan: {error.hint}"
            raise DynoctlError(error.summary, hint) from None
        if plan_file.suffix not in (".yaml", ".yml"):
            raise
        raise DynoctlError(error.summary, f"to apply a manifest: dynoctl apply -f {plan_file}") from None
    options = replace_(options, **saved.options())

    def refuse(ready: Prepared) -> None:
        from infra.views import plan_json

        saved_plan.refuse_changed(plan_file, saved, ready, plan_json.document(ready.plan, {}))

    carry_out(options, replace_(flags, auto_approve=True), refuse=refuse)


def carry_out(
    options: PlanOptions,
    flags: ApplyFlags,
    *,
    verb: str = "apply",
    refuse: Callable[[Prepared], None] = lambda _: None,
    begin: Begin = lambda: None,
) -> None:
    """Plan, show it, ask for approval, carry it out and report; ends by raising typer.Exit with the exit code.

    ``refuse`` raises if the plan is not the one that was reviewed; ``begin`` is called when the first plan is approved,
    and returns the sha256 of the manifest before and after if it edits it. If nobody is asked, a plan that became stale
    is made again. Those that did so while other apps' applies were waited for do not count: many jobs may apply to one
    server at once, and the first free port is that of the first."""
    from infra.engine.prepared import StalePlan
    from infra.fleet.lock import OTHERS

    attempts, began = 0, time.monotonic()
    begin = functools.cache(begin)  # a command that fills a database takes long, and need not stand a second run
    patience = OTHERS if flags.lock_timeout is None else flags.lock_timeout
    while True:
        try:
            _plan_and_apply(options, flags, verb, refuse, begin)
        except StalePlan as stale:
            attempts += not (stale.waited and time.monotonic() - began < patience)
            if attempts >= MAX_PLANS or not flags.auto_approve:
                raise
            fail.say(f"{stale.summary}; planning again")


def _plan_and_apply(
    options: PlanOptions, flags: ApplyFlags, verb: str, refuse: Callable[[Prepared], None], begin: Begin
) -> None:
    from infra.engine.apply import refuse_held
    from infra.views import stream_json

    began = time.monotonic()
    with prepared(options) as ready:
        refuse(ready)
        if options.quiet:
            stream_json.write_plan(ready.plan, ready.fleet.round_trips())
        else:
            show(ready, verbose=flags.verbose)
        if ready.plan.errors or (not ready.plan.changes and not options.forget):
            report = None
            code = exit_code(ready.plan, detailed=False, skip_unreachable=options.skip_unreachable)
            if not ready.plan.errors and ready.records_outdated():
                report = _run(ready, None, flags, began, as_json=options.quiet)
                code = _code(ready, report, options.skip_unreachable)
            elif not ready.plan.errors:
                remember(ready, ended=True)
            if options.quiet:
                seconds = time.monotonic() - began if report is None else report.seconds
                stream_json.write_report(code, seconds, report)
            elif report is not None and not report.ok:
                print_report(ready, report, verb, verbose=flags.verbose)
            raise typer.Exit(code)
        refuse_held(ready.plan)
        if not flags.auto_approve:
            asked = time.monotonic()
            if not _approved(verb):
                typer.echo("Not approved; nothing was changed.", err=True)
                raise typer.Exit(ERROR)
            began += time.monotonic() - asked
        ready = replace_(ready, request=replace_(ready.request, edited=begin()))
        if not options.quiet and sys.stderr.isatty():
            typer.echo(err=True)
        with listener_for(ready.plan, options.quiet, verbose=flags.verbose) as listener:
            report = _run(ready, listener, flags, began, as_json=options.quiet)
        code = _code(ready, report, options.skip_unreachable)
        if options.quiet:
            stream_json.write_report(code, report.seconds, report)
        else:
            print_report(ready, report, verb, verbose=flags.verbose)
        raise typer.Exit(code)


def _approved(verb: str) -> bool:
    from infra.remote import echo

    words = "roll back" if verb == "rollback" else verb
    echo.forget()
    typer.echo(f"\nDo you want to {words}? Only 'yes' is accepted to approve: ", nl=False, err=True)
    return sys.stdin.readline().strip() == "yes"


def _run(
    ready: Prepared,
    listener: StreamProgress | PlainProgress | LiveProgress | None,
    flags: ApplyFlags,
    began: float,
    *,
    as_json: bool,
) -> Report:
    """Carry out the plan. ``began`` is when planning began; the time in which the user was asked does not count."""
    from infra.engine.apply import Applier, ApplyOptions
    from infra.slug.commit import commit_of

    # A rollback runs a slug made from another commit than the one checked out.
    own = ready.slug if ready.plan.fresh and ready.stored is None else None
    commit = "" if own is None else commit_of(ready.manifest.app.source, own.holds)
    target = None if ready.request.running else ready.stored
    message = flags.message or ("" if target is None else f"rollback to v{target.number}")
    options = ApplyOptions(message, commit, flags.lock_timeout, began, flags.invocation)
    applier = Applier(ready, listener or (lambda _: None), options)
    with interruptible(applier.stop, listener.interrupted if listener else (lambda: None), as_json=as_json):
        report = applier.run()
    remember(ready, ended=report.ok)
    return report


def _code(ready: Prepared, report: Report, skip_unreachable: bool) -> int:
    if any(failure.unreachable for failure in report.failures):
        return UNREACHABLE
    if report.rejected or report.fully_reverted:
        return REJECTED
    if not report.ok:
        return ERROR
    return UNREACHABLE if ready.plan.missed and not skip_unreachable else OK
