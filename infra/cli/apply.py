"""``dynoctl apply`` and ``dynoctl destroy``: show the plan, ask, carry it out, report."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as replace_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli.options import (
    AsJson,
    Destination,
    Evacuates,
    Excludes,
    File,
    Parallelism,
    Replaces,
    SkipUnreachable,
    Targets,
    selection,
)
from infra.cli.session import Wish, exit_code, prepared, show
from infra.errors import ERROR, OK, REJECTED, UNREACHABLE, DynoctlError
from infra.plan.selection import EVERYTHING
from infra.remote.parallel import AT_ONCE

if TYPE_CHECKING:
    from infra.engine.apply import Applier
    from infra.engine.prepared import Prepared
    from infra.engine.restart import Restarter
    from infra.model.events import Event, Listener, Report
    from infra.views.progress import LiveProgress, PlainProgress
    from infra.views.stream_json import StreamProgress

AutoApprove = Annotated[bool, typer.Option("--auto-approve", help="Do not ask.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show every attribute of new resources.")]
Message = Annotated[str, typer.Option("--message", "-m", help="What this release is for; dynoctl releases shows it.")]
LockTimeout = Annotated[
    int, typer.Option("--lock-timeout", min=0, help="Seconds to wait where another apply is running.")
]


@dataclass(frozen=True)
class How:
    """How a plan is carried out. ``lock_timeout`` is in seconds."""

    auto_approve: bool
    verbose: bool = False
    message: str = ""
    lock_timeout: int = 0


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
    destination: Destination = None,
    auto_approve: AutoApprove = False,
    message: Message = "",
    verbose: Verbose = False,
    lock_timeout: LockTimeout = 0,
    forget: Annotated[
        list[str] | None,
        typer.Option("--forget", help="A server that left dyno.yaml and will never answer again; may be repeated."),
    ] = None,
    evacuate: Evacuates = None,
    target: Targets = None,
    exclude: Excludes = None,
    replace: Replaces = None,
    parallelism: Parallelism = AT_ONCE,
    skip_unreachable: SkipUnreachable = False,
    as_json: AsJson = False,
) -> None:
    """Make the servers match dyno.yaml: show the plan, ask, carry it out."""
    wish = Wish(
        file or Path("dyno.yaml"),
        destination,
        forget=frozenset(forget or ()),
        evacuate=frozenset(evacuate or ()),
        selection=selection(target, exclude, replace),
        parallelism=parallelism,
        skip_unreachable=skip_unreachable,
        quiet=as_json,
    )
    how = How(auto_approve, verbose, message, lock_timeout)
    if plan_file is None:
        refuse_unattended("apply", auto_approve, as_json)
        carry_out(wish, how)
        return
    if file is not None or destination is not None or wish.forget or wish.evacuate or wish.selection != EVERYTHING:
        raise DynoctlError(
            "A saved plan takes no --file, --destination, --forget, --evacuate, --target, --exclude or --replace",
            "They were chosen when it was made.",
        )
    _apply_saved(plan_file, wish, how)


def _apply_saved(plan_file: Path, wish: Wish, how: How) -> None:
    """Whoever made the plan chose what is in it, and whoever reviewed it approved that."""
    from infra.engine import plan_file as saved_plan

    try:
        one = saved_plan.read(plan_file)
    except DynoctlError as error:
        if plan_file.suffix not in (".yaml", ".yml"):
            raise
        raise DynoctlError(error.summary, f"For a manifest: dynoctl apply -f {plan_file}") from None
    wish = replace_(wish, file=one.file, destination=one.destination, selection=one.selection, evacuate=one.evacuate)

    def refuse(ready: Prepared) -> None:
        from infra.views import plan_json

        saved_plan.refuse_changed(plan_file, one, ready, plan_json.document(ready.plan, {}))

    carry_out(wish, replace_(how, auto_approve=True), refuse=refuse)


def destroy(
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    auto_approve: AutoApprove = False,
    verbose: Verbose = False,
    lock_timeout: LockTimeout = 0,
    as_json: AsJson = False,
) -> None:
    """Remove everything of this app from its servers, and nothing else."""
    refuse_unattended("destroy", auto_approve, as_json)
    wish = Wish(file, destination, destroy=True, quiet=as_json)
    carry_out(wish, How(auto_approve, verbose, lock_timeout=lock_timeout), verb="destroy")


def refuse_unattended(verb: str, auto_approve: bool, as_json: bool) -> None:
    """Raise DynoctlError where nobody can approve, before anybody is asked anything."""
    if not auto_approve and (as_json or not sys.stdin.isatty()):
        raise DynoctlError(
            f"Nobody is there to approve: {verb} needs a terminal, or --auto-approve",
            f"Review first: dynoctl plan; then: dynoctl {verb} --auto-approve",
        )


def carry_out(
    wish: Wish,
    how: How,
    *,
    verb: str = "apply",
    refuse: Callable[[Prepared], None] = lambda _: None,
    begin: Callable[[], None] = lambda: None,
) -> None:
    """Plan, show it, ask, carry it out and report; ends with the exit code. ``refuse`` raises where a plan is not the
    one that was reviewed; ``begin`` is called once it is approved.

    Who waits for a lock without a person finds other servers afterwards, and plans again."""
    from infra.engine.apply import StalePlan

    for left in reversed(range(AGAIN if how.auto_approve and how.lock_timeout else 1)):
        try:
            _once(wish, how, verb, refuse, begin)
        except StalePlan as stale:
            if not left:
                raise
            typer.echo(f"{stale.summary} Planning again.", err=True)
            wish = replace_(wish, sessions=None)


def _once(wish: Wish, how: How, verb: str, refuse: Callable[[Prepared], None], begin: Callable[[], None]) -> None:
    began = time.monotonic()
    with prepared(wish) as ready:
        refuse(ready)
        if wish.quiet:
            _write_plan(ready)
        else:
            show(ready, verbose=how.verbose)
        if ready.plan.errors or (not ready.plan.changes and not wish.forget):
            report = None
            code = exit_code(ready.plan, detailed=False, skip_unreachable=wish.skip_unreachable)
            if not ready.plan.errors and ready.records_outdated():
                report = _run(ready, _nobody, how)
                code = _code(ready, report, wish.skip_unreachable)
            if wish.quiet:
                _write_report(code, time.monotonic() - began, report)
            elif report is not None and not report.ok:
                print_report(ready, report, time.monotonic() - began, verb.capitalize())
            raise typer.Exit(code)
        if not how.auto_approve:
            asked = time.monotonic()
            if not _approved(verb):
                typer.echo("Nothing was changed.", err=True)
                raise typer.Exit(ERROR)
            began += time.monotonic() - asked
        begin()
        with listener_for(wish.quiet) as listener:
            report = _run(ready, listener, how)
        code, seconds = _code(ready, report, wish.skip_unreachable), time.monotonic() - began
        if wish.quiet:
            _write_report(code, seconds, report)
        else:
            print_report(ready, report, seconds, verb.capitalize())
        raise typer.Exit(code)


def _approved(verb: str) -> bool:
    typer.echo(f"\nDo you want to {verb} this? Only 'yes' goes on: ", nl=False, err=True)
    return sys.stdin.readline().strip() == "yes"


def listener_for(as_json: bool) -> StreamProgress | PlainProgress | LiveProgress:
    from infra.views.progress import progress
    from infra.views.stream_json import StreamProgress

    return StreamProgress() if as_json else progress()


def _run(ready: Prepared, listener: Listener, how: How) -> Report:
    from infra.engine.apply import Applier, ApplyOptions
    from infra.slug.commit import commit_of

    # A rollback runs what was made of another commit than the one that is checked out.
    commit = commit_of(ready.manifest.app.source) if ready.plan.fresh and ready.stored is None else ""
    applier = Applier(ready, listener, ApplyOptions(how.message, commit, how.lock_timeout))
    with interruptible(applier):
        return applier.run()


def _nobody(_: Event) -> None:
    """Hears everything and says nothing."""


@contextmanager
def interruptible(applier: Applier | Restarter) -> Iterator[None]:
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


def _code(ready: Prepared, report: Report, skip_unreachable: bool) -> int:
    if any(failure.unreachable for failure in report.failures):
        return UNREACHABLE
    if report.rejected or report.went_back:
        return REJECTED
    if not report.ok:
        return ERROR
    return UNREACHABLE if ready.plan.missed and not skip_unreachable else OK


def print_report(ready: Prepared, report: Report, seconds: float, verb: str) -> None:
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
    from infra.fleet.inventory import targets
    from infra.fleet.status import list_dynos
    from infra.registry import Everything

    known = [target for target in targets(ready.manifest) if target.name in ready.fleet.sessions.keys() - lost]
    return list_dynos(ready.manifest.app.name, Everything.processes, known, ready.fleet.sessions)


def _write_report(code: int, seconds: float, report: Report | None) -> None:
    """The last line of what ``--json`` prints. None: nothing was begun."""
    from infra.model.events import Report
    from infra.views import report_json, stream_json

    done = report_json.document(report or Report())
    stream_json.write("report", {"exit_code": code, "seconds": round(seconds, 1), **done, "ok": code == OK})


def _write_plan(ready: Prepared) -> None:
    from infra.views import plan_json, stream_json

    stream_json.write("plan", {"plan": plan_json.document(ready.plan, ready.fleet.round_trips())})
