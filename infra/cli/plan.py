"""``dynoctl plan``: show what would change, and change nothing."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.drift import drift
from infra.cli.grouped_help import LOST, OUTPUT, PARTS
from infra.cli.options import (
    AsJson,
    AsMarkdown,
    Destination,
    Evacuates,
    Excludes,
    File,
    HtmlTo,
    OverRollback,
    Parallelism,
    Replaces,
    SkipUnreachable,
    TakeOver,
    Targets,
    Trusts,
    Verbose,
    WithChanges,
    refuse_unwritable,
    refuse_without_effect,
    selection,
    write_page,
)
from infra.cli.workers import Controllers, ProcessOptions, Workers
from infra.errors import DynoctlError
from infra.remote.parallel import AT_ONCE

REBALANCE = "--rebalance"

EXAMPLES = """\
dynoctl plan
dynoctl plan -d staging --out staging.plan"""


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    app.command("plan", short_help="Show what would change on the servers.", epilog=EXAMPLES)(plan)


def plan(
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 if changes are pending", rich_help_panel=OUTPUT)
    ] = False,
    refresh_only: Annotated[
        bool,
        typer.Option(
            "--refresh-only", help="Show only what was changed by hand, as drift does", rich_help_panel=OUTPUT
        ),
    ] = False,
    verbose: Verbose = False,
    diff: Annotated[bool, typer.Option("--diff", help="Show what changes in the files of the app")] = False,
    as_json: AsJson = False,
    as_markdown: AsMarkdown = False,
    html: HtmlTo = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Save the plan to a file for show and apply", metavar="PLAN")
    ] = None,
    evacuate: Evacuates = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Even if that server is up: its dynos may run twice", rich_help_panel=LOST),
    ] = False,
    take_over: TakeOver = False,
    target: Targets = None,
    exclude: Excludes = None,
    replace: Replaces = None,
    over_rollback: OverRollback = False,
    untrusted: Annotated[
        bool,
        typer.Option("--untrusted", help="Plan a stranger's manifest: read no secret", rich_help_panel=PARTS),
    ] = False,
    trust: Trusts = None,
    rebalance: Annotated[
        bool,
        typer.Option(REBALANCE, help="Move dynos until they are spread evenly", rich_help_panel=PARTS),
    ] = False,
    with_changes: WithChanges = False,
    parallelism: Parallelism = AT_ONCE,
    workers: Workers = None,
    controllers: Controllers = None,
    skip_unreachable: SkipUnreachable = False,
) -> None:
    """Compare dyno.yaml with the live servers and show what would change."""
    running = evacuate or rebalance
    if untrusted and (out or refresh_only or force or take_over or running or with_changes or over_rollback):
        raise DynoctlError(
            "--untrusted cannot be combined with --out, --refresh-only, --force, --take-over, --evacuate, --rebalance, "
            "--with-changes or --over-rollback",
            "what a stranger changed is planned again after the merge, and applied then",
        )
    if refresh_only:
        choices: list[object] = [running, force, take_over, target, exclude, replace, over_rollback, trust]
        choices += [with_changes, diff, as_markdown, out, html, verbose, skip_unreachable]
        choices += [parallelism != AT_ONCE, workers is not None, controllers]
        if any(choices):
            raise DynoctlError(
                "--refresh-only can be combined only with -f, -d, --json and --detailed-exitcode",
                "dynoctl drift --help",
            )
        drift(file, destination, detailed_exitcode, as_json)
    refuse_without_effect(force=force, with_changes=with_changes, evacuate=evacuate, rebalance=rebalance, verb="plan")
    refuse_unwritable(out, html)
    from infra.cli.session import PlanOptions, exit_code, prepared, show

    if as_json and as_markdown:
        raise DynoctlError("--json and --markdown cannot be combined", "remove one of them")
    if diff and as_markdown:
        raise DynoctlError("--diff cannot be combined with --markdown", "dynoctl plan --diff --html FILE")
    options = PlanOptions(
        file,
        destination,
        evacuate=frozenset(evacuate or ()),
        force=force,
        take_over=take_over,
        selection=selection(target, exclude, replace),
        over_rollback=over_rollback,
        trust=frozenset(trust or ()),
        with_changes=with_changes,
        rebalance=rebalance,
        parallelism=parallelism,
        processes=ProcessOptions.of(workers, controllers),
        skip_unreachable=skip_unreachable,
        rated=not untrusted and (as_markdown or out is not None or html is not None),
        untrusted=untrusted,
        quiet=as_json or as_markdown,
    )
    with prepared(options) as ready:
        from infra.engine import source_diff
        from infra.views import plan_json
        from infra.views import source_diff as source_diff_view
        from infra.views.style import Style, wanted

        trips = ready.fleet.round_trips()
        document = {} if out is None and html is None else plan_json.document(ready.plan, trips)
        changed = source_diff.of(ready) if diff else None
        if out is not None:
            from infra.engine import plan_file

            plan_file.write(out, ready, document)
        if html is not None:
            from infra.fleet.lock import Identity
            from infra.registry import Everything
            from infra.views import plan_html

            author, digest = Identity.current(), plan_json.digest(document)
            made = plan_html.Made(author.who, author.when, str(file), digest, destination or "")
            write_page(html, plan_html.render(ready.plan, Everything().briefs(), made, changed))
        if as_json:
            more = {} if changed is None else {"diff": source_diff_view.document(changed)}
            for part in plan_json.chunks(ready.plan, trips, more):
                typer.echo(part, nl=False)
            typer.echo()
        elif as_markdown:
            from infra.registry import Everything
            from infra.views import plan_markdown

            typer.echo(plan_markdown.render(ready.plan, Everything().briefs(), verbose=verbose), nl=False)
        else:
            show(ready, verbose=verbose)
            if changed is not None:
                typer.echo("\n" + source_diff_view.render(changed, Style(wanted(sys.stdout))))
            if html is not None:
                typer.echo(f"\nWrote the plan to {html}.")
            if out is not None and ready.plan.held is not None:
                words = "Saved the plan to review it. A rollback is held, so this one is refused"
                typer.echo(f"\n{words}. To save one that undoes it: dynoctl plan --over-rollback --out FILE")
            elif out is not None:
                typer.echo(f"\nSaved the plan. To apply exactly this plan: dynoctl apply {out}")
            elif ready.plan.changes and not ready.plan.errors and not untrusted:
                undoing = ready.plan.held is not None
                words = "To apply it, which undoes the rollback" if undoing else "To apply it"
                typer.echo(f"\n{words}: {_next(file, ready.plan.options, undoing=undoing)}")
        raise typer.Exit(exit_code(ready.plan, detailed=detailed_exitcode, skip_unreachable=skip_unreachable))


def _next(file: Path, options: Sequence[str], *, undoing: bool = False) -> str:
    """The command that applies what was planned, or what would undo a rollback that is held. ``rebalance`` does not
    know all options of a plan."""
    verb = "rebalance" if REBALANCE in options else "apply"
    if undoing and verb == "apply" and "--over-rollback" not in options:
        options = [*options, "--over-rollback"]
    given = [option for option in options if option != REBALANCE]
    known = ("--destination", "--trust", "--with-changes")
    if verb == "rebalance" and any(word.startswith("--") and word not in known for word in given):
        return "save it with --out FILE, then dynoctl apply FILE"
    words = ["dynoctl", verb, *([] if file == Path("dyno.yaml") else ["-f", str(file)]), *given]
    plain = all(re.fullmatch(r"[\w.,:=/@-]+", word, re.ASCII) for word in words)
    return " ".join(words) if plain else f"dynoctl {verb}, with the same options"
