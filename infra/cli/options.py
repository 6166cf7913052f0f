"""Options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli import durations
from infra.cli.grouped_help import FLEETS, LOST, OUTPUT, PARTS, RECORDS
from infra.errors import DynoctlError

if TYPE_CHECKING:
    from infra.model.target import Target
    from infra.plan.selection import Selection

# readable=False: Click does not check it, and the error is that of reading the file.
File = Annotated[Path, typer.Option("--file", "-f", help="Manifest to read", metavar="FILE", readable=False)]
FileIfGiven = Annotated[
    Path | None,
    typer.Option("--file", "-f", help="Manifest to read", metavar="FILE", show_default="dyno.yaml", readable=False),
]
Destination = Annotated[
    str | None,
    typer.Option("--destination", "-d", help="Apply the overlay dyno.NAME.yaml to the manifest", metavar="NAME"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        help="Plan only this server, dyno or type (repeatable)",
        metavar="PATTERN",
        rich_help_panel=PARTS,
    ),
]
Excludes = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        help="Leave out this server, dyno or type (repeatable)",
        metavar="PATTERN",
        rich_help_panel=PARTS,
    ),
]
Replaces = Annotated[
    list[str] | None,
    typer.Option(
        "--replace",
        help="Restart this dyno or type in any case (repeatable)",
        metavar="NAME",
        rich_help_panel=PARTS,
    ),
]
Forgets = Annotated[
    list[str] | None,
    typer.Option(
        "--forget",
        help="Server that left dyno.yaml and is gone (repeatable)",
        metavar="SERVER",
        rich_help_panel=LOST,
    ),
]
Evacuates = Annotated[
    list[str] | None,
    typer.Option(
        "--evacuate",
        help="Start dynos of a dead server elsewhere (repeatable)",
        metavar="SERVER",
        rich_help_panel=LOST,
    ),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Even if that server is up: dynos may run twice", rich_help_panel=LOST),
]
TakeOver = Annotated[
    bool,
    typer.Option("--take-over", help="Replace another manifest with the same app.name", rich_help_panel=RECORDS),
]
Trusts = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        help="Believe only this server's records (repeatable)",
        metavar="SERVER",
        rich_help_panel=RECORDS,
    ),
]
WithChanges = Annotated[
    bool,
    typer.Option("--with-changes", help="With --evacuate, apply also what was edited", rich_help_panel=LOST),
]
OverRollback = Annotated[
    bool,
    typer.Option("--over-rollback", help="Release again what was rolled back from", rich_help_panel=RECORDS),
]
AutoApprove = Annotated[bool, typer.Option("--auto-approve", help="Skip the approval prompt")]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Show all changes, and what of known_hosts is skipped"),
]
Message = Annotated[
    str, typer.Option("--message", "-m", help="Note to show in dynoctl releases and history", metavar="TEXT")
]
LockTimeout = Annotated[
    float | None,
    typer.Option(
        "--lock-timeout",
        parser=durations.option("--lock-timeout"),
        help="Time to wait for another apply, such as 10m",
        metavar="TIME",
        rich_help_panel=RECORDS,
        show_default="0, and 300 for other apps",
    ),
]
Parallelism = Annotated[
    int,
    typer.Option(
        "--parallelism",
        min=1,
        help="Servers to work on at the same time",
        metavar="N",
        rich_help_panel=FLEETS,
    ),
]
SkipUnreachable = Annotated[
    bool,
    typer.Option("--skip-unreachable", help="Do not exit with 4 if servers are unreachable", rich_help_panel=LOST),
]
HtmlTo = Annotated[
    Path | None,
    typer.Option("--html", help="Write the plan as a self-contained HTML page", metavar="FILE", rich_help_panel=OUTPUT),
]
AsMarkdown = Annotated[
    bool, typer.Option("--markdown", help="Print Markdown for a pull request", rich_help_panel=OUTPUT)
]


def refuse_unwritable(*paths: Path | None) -> None:
    """Raise DynoctlError if one of the output files cannot be written, before any server is contacted."""
    for path in paths:
        if path is not None:
            from infra.engine import plan_file

            plan_file.refuse_unwritable(path)


def write_page(path: Path, text: str) -> None:
    """Write a page with the default permissions of new files. Raises DynoctlError."""
    refuse_unwritable(path)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        hint = f"choose a directory that you may write to, such as ~/{path.name}"
        raise DynoctlError(f"cannot write {path}: {error.strerror}", hint) from None


def selection(targets: list[str] | None, excludes: list[str] | None, replaces: list[str] | None) -> Selection:
    """The selection that --target, --exclude and --replace make together."""
    from infra.plan.selection import Selection

    return Selection(tuple(targets or ()), tuple(excludes or ()), tuple(replaces or ()))


def refuse_without_effect(
    *,
    force: bool,
    with_changes: bool,
    evacuate: list[str] | None,
    forget: list[str] | None = None,
    rebalance: bool = False,
    verb: str = "apply",
) -> None:
    """Raise DynoctlError for an option that only says how servers are evacuated or forgotten, if none is."""
    if force and not (evacuate or forget):
        needed = "--evacuate or --forget" if verb == "apply" else "--evacuate"  # a plan cannot forget
        raise DynoctlError(f"--force requires {needed}", f"dynoctl {verb} --evacuate SERVER --force")
    if with_changes and not (evacuate or rebalance):
        raise DynoctlError(
            "--with-changes requires --evacuate", "leave it out: without --evacuate, all changes are included"
        )


def servers_named(names: Sequence[str], known: Sequence[Target]) -> list[Target]:
    """The servers with these names, or all without names. Raises DynoctlError if a name is unknown."""
    available = [target.name for target in known]
    for name in names:
        if name not in available:
            raise DynoctlError(f"no such server: {name}", f"available: {', '.join(available)}")
    return [target for target in known if not names or target.name in names]
