"""``dynoctl apply`` and ``dynoctl destroy``: show the plan, ask, carry it out, report."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli.options import AsJson, File
from infra.errors import ERROR, OK, REJECTED, UNREACHABLE, DynoctlError

if TYPE_CHECKING:
    from infra.apply import Applier
    from infra.engine import Prepared
    from infra.events import Event, Report
    from infra.launch_record import Stored
    from infra.remote.session import Session

AutoApprove = Annotated[bool, typer.Option("--auto-approve", help="Do not ask.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show every attribute of new resources.")]
Message = Annotated[str, typer.Option("--message", "-m", help="What this release is for; dynoctl releases shows it.")]
LockTimeout = Annotated[
    int, typer.Option("--lock-timeout", min=0, help="Seconds to wait where another apply is running.")
]

AGAIN = 3
"""How often an apply that waits for locks may plan."""


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("apply", short_help="Make the servers match dyno.yaml.")(apply)
    app.command("destroy", short_help="Remove everything of this app.")(destroy)


def apply(
    plan_file: Annotated[
        Path | None, typer.Argument(help="A saved plan: just that is applied, and nothing is asked.", metavar="PLAN")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="The manifest.  [default: dyno.yaml]")] = None,
    auto_approve: AutoApprove = False,
    message: Message = "",
    verbose: Verbose = False,
    lock_timeout: LockTimeout = 0,
    forget: Annotated[
        list[str] | None,
        typer.Option("--forget", help="A server that left dyno.yaml and will never answer again; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the servers match dyno.yaml: show the plan, ask, carry it out."""
    gone = frozenset(forget or ())
    if plan_file is not None:
        _apply_saved(plan_file, file, gone, verbose, as_json, message, lock_timeout)
        return
    refuse_unattended("apply", auto_approve, as_json)
    file = file or Path("dyno.yaml")
    carry_out(file, auto_approve, verbose, as_json, forget=gone, message=message, lock_timeout=lock_timeout)


def _apply_saved(
    plan_file: Path,
    file: Path | None,
    forget: frozenset[str],
    verbose: bool,
    as_json: bool,
    message: str,
    lock_timeout: int,
) -> None:
    """Whoever made the plan chose what is in it, and whoever reviewed it approved that."""
    from infra import saved

    if plan_file.is_dir() or plan_file.suffix in (".yaml", ".yml"):
        raise DynoctlError(f"{plan_file} is no saved plan", f"For a manifest: dynoctl apply -f {plan_file}")
    if file is not None or forget:
        raise DynoctlError("A saved plan takes no --file and no --forget", "They were chosen when it was made.")
    one = saved.read(plan_file)
    refuse = partial(saved.refuse_changed, plan_file, one)
    carry_out(one.file, True, verbose, as_json, message=message, lock_timeout=lock_timeout, refuse=refuse)


def destroy(
    file: File = Path("dyno.yaml"),
    auto_approve: AutoApprove = False,
    verbose: Verbose = False,
    lock_timeout: LockTimeout = 0,
    as_json: AsJson = False,
) -> None:
    """Remove everything of this app from its servers, and nothing else."""
    refuse_unattended("destroy", auto_approve, as_json)
    carry_out(file, auto_approve, verbose, as_json, verb="destroy", lock_timeout=lock_timeout)


def refuse_unattended(verb: str, auto_approve: bool, as_json: bool) -> None:
    """Raise DynoctlError where nobody can approve, before anybody is asked anything."""
    if not auto_approve and (as_json or not sys.stdin.isatty()):
        raise DynoctlError(
            f"Nobody is there to approve: {verb} needs a terminal, or --auto-approve",
            f"Review first: dynoctl plan; then: dynoctl {verb} --auto-approve",
        )


def carry_out(
    file: Path,
    auto_approve: bool,
    verbose: bool,
    as_json: bool,
    *,
    verb: str = "apply",
    forget: frozenset[str] = frozenset(),
    stored: Stored | None = None,
    sessions: Mapping[str, Session] | None = None,
    message: str = "",
    lock_timeout: int = 0,
    refuse: Callable[[Prepared], None] = lambda _: None,
) -> None:
    """Plan, show it, ask, carry it out and report; ends with the exit code. ``stored`` is a release to go back to;
    ``refuse`` raises where a plan is not the one that was reviewed.

    Who waits for a lock without a person finds other servers afterwards, and plans again."""
    from infra.apply import StalePlan

    for left in reversed(range(AGAIN if auto_approve and lock_timeout else 1)):
        try:
            _once(file, auto_approve, verbose, as_json, verb, forget, stored, sessions, message, lock_timeout, refuse)
        except StalePlan as stale:
            if not left:
                raise
            typer.echo(f"{stale.summary} Planning again.", err=True)
            sessions = None


def _once(
    file: Path,
    auto_approve: bool,
    verbose: bool,
    as_json: bool,
    verb: str,
    forget: frozenset[str],
    stored: Stored | None,
    sessions: Mapping[str, Session] | None,
    message: str,
    lock_timeout: int,
    refuse: Callable[[Prepared], None],
) -> None:
    from infra.cli.session import exit_code, prepared, show

    began = time.monotonic()
    with prepared(
        file, destroy=verb == "destroy", forget=forget, stored=stored, sessions=sessions, quiet=as_json
    ) as ready:
        refuse(ready)
        if not as_json:
            show(ready, verbose=verbose)
        if ready.plan.errors:
            if as_json:
                _print_json(ready, None)
            raise typer.Exit(ERROR)
        if not ready.plan.changes and not forget:
            if ready.records_outdated():
                _run(ready, quiet=True, message=message, lock_timeout=lock_timeout)
            if as_json:
                _print_json(ready, None)
            raise typer.Exit(exit_code(ready.plan, detailed=False))
        if not auto_approve:
            asked = time.monotonic()
            if not _approved(verb):
                typer.echo("Nothing was changed.", err=True)
                raise typer.Exit(ERROR)
            began += time.monotonic() - asked
        report = _run(ready, quiet=as_json, message=message, lock_timeout=lock_timeout)
        if as_json:
            _print_json(ready, report)
        else:
            _print_report(ready, report, time.monotonic() - began, verb.capitalize())
        raise typer.Exit(_code(ready, report))


def _approved(verb: str) -> bool:
    typer.echo(f"\nDo you want to {verb} this? Only 'yes' goes on: ", nl=False, err=True)
    return sys.stdin.readline().strip() == "yes"


def _run(ready: Prepared, *, quiet: bool, message: str, lock_timeout: int) -> Report:
    from infra.apply import Applier
    from infra.commit import commit_of
    from infra.views.progress import progress

    # A rollback runs what was made of another commit than the one that is checked out.
    commit = commit_of(ready.manifest.app.source) if ready.plan.fresh and ready.stored is None else ""
    with nullcontext(_nobody) if quiet else progress() as listener:
        applier = Applier(ready, listener, message, commit, lock_timeout)
        with _interruptible(applier):
            return applier.run()


def _nobody(_: Event) -> None:
    """Hears everything and says nothing."""


@contextmanager
def _interruptible(applier: Applier) -> Iterator[None]:
    """The first Ctrl-C finishes the step under way; a second one leaves at once."""

    def stop(*_: object) -> None:
        typer.echo("\nFinishing the step under way; press Ctrl-C again to leave at once.", err=True)
        applier.stop.set()
        signal.signal(signal.SIGINT, leave)

    def leave(*_: object) -> None:
        # Threads that wait for a server would hold an orderly end up; the servers see the sessions end.
        sys.stderr.write("\nLeft at once. The step under way may end on its server; run it again to go on.\n")
        sys.stderr.flush()
        os._exit(130)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _code(ready: Prepared, report: Report) -> int:
    if any(failure.unreachable for failure in report.failures):
        return UNREACHABLE
    if report.rejected or report.went_back:
        return REJECTED
    if not report.ok:
        return ERROR
    return UNREACHABLE if ready.plan.unreachable else OK


def _print_report(ready: Prepared, report: Report, seconds: float, verb: str) -> None:
    from infra.views import dynos, report_text
    from infra.views.style import Style, wanted

    style = Style(wanted(sys.stdout))
    if not ready.destroy:
        rows, _ = _rows(ready, {failure.server for failure in report.failures if failure.unreachable})
        typer.echo("")
        typer.echo(dynos.table(rows, style))
    typer.echo("")
    typer.echo(report_text.render(report, seconds, verb, style))


def _rows(ready: Prepared, lost: Collection[str]):  # type: ignore[no-untyped-def]  # the row's module is imported late
    from infra.engine import targets
    from infra.processes import list_dynos
    from infra.registry import Everything

    known = [target for target in targets(ready.manifest) if target.name in ready.fleet.sessions.keys() - lost]
    return list_dynos(ready.manifest.app.name, Everything.processes, known, ready.fleet.sessions)


def _print_json(ready: Prepared, report: Report | None) -> None:
    import json

    from infra.views import plan_json, report_json

    document: dict[str, object] = {"plan": plan_json.document(ready.plan, ready.fleet.round_trips())}
    document["report"] = None if report is None else report_json.document(report)
    typer.echo(json.dumps({"format_version": 1, **document}, indent=2))
