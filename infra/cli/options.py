"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.errors import DynoctlError
from infra.plan.selection import Selection

if TYPE_CHECKING:
    from infra.model.target import Target

File = Annotated[Path, typer.Option("--file", "-f", help="The manifest.")]
Destination = Annotated[
    str | None, typer.Option("--destination", "-d", help="Lay dyno.NAME.yaml over the manifest.", metavar="NAME")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", "-t", help="Only this server, dyno or process type; a pattern; may be repeated."),
]
Excludes = Annotated[
    list[str] | None,
    typer.Option("--exclude", help="Not this server, dyno or process type; a pattern; may be repeated."),
]
Replaces = Annotated[
    list[str] | None,
    typer.Option("--replace", help="Restart this dyno or process type though nothing changes; may be repeated."),
]
Evacuates = Annotated[
    list[str] | None,
    typer.Option("--evacuate", help="A server in dyno.yaml that is dead: its dynos start elsewhere; may be repeated."),
]
Parallelism = Annotated[
    int, typer.Option("--parallelism", min=1, help="How many servers are worked on at the same time.")
]
SkipUnreachable = Annotated[
    bool, typer.Option("--skip-unreachable", help="Servers that do not answer are no error: exit without 4 for them.")
]
HtmlTo = Annotated[Path | None, typer.Option("--html", help="Write one self-contained page.", metavar="FILE")]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown for a pull request.")]


def refuse_unwritable(*paths: Path | None) -> None:
    """Raise DynoctlError, before any server is asked, where one of the files that are given cannot be written."""
    from infra.engine import plan_file

    for path in paths:
        if path is not None:
            plan_file.refuse_unwritable(path)


def write_page(path: Path, text: str) -> None:
    """Write a page for whoever may read the directory. Raises DynoctlError."""
    refuse_unwritable(path)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DynoctlError(f"The page cannot be written to {path}: {error.strerror}") from None


def selection(targets: list[str] | None, excludes: list[str] | None, replaces: list[str] | None) -> Selection:
    """What the three options say together."""
    return Selection(tuple(targets or ()), tuple(excludes or ()), tuple(replaces or ()))


def servers_named(names: Sequence[str], known: Sequence[Target]) -> list[Target]:
    """Those of the servers that are named; none named: all. Raises DynoctlError where there is none of a name."""
    there = [target.name for target in known]
    for name in names:
        if name not in there:
            raise DynoctlError(f"There is no server {name}", f"There is: {', '.join(there)}.")
    return [target for target in known if not names or target.name in names]
