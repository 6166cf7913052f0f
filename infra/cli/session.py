"""What plan, apply and destroy share: read the manifest, prepare the plan, show it, choose an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from infra.errors import CHANGES_PENDING, ERROR, OK, UNREACHABLE

if TYPE_CHECKING:
    from infra.engine import Prepared
    from infra.launch_record import Stored
    from infra.plan import Plan
    from infra.remote.session import Session


@contextmanager
def prepared(
    file: Path,
    *,
    destroy: bool = False,
    forget: frozenset[str] = frozenset(),
    stored: Stored | None = None,
    sessions: Mapping[str, Session] | None = None,
    quiet: bool = False,
) -> Iterator[Prepared]:
    """The plan for a manifest, with its sessions open; closes them at the end."""
    from infra import manifest
    from infra.engine import prepare
    from infra.registry import Everything

    model = manifest.read(file)
    say = (lambda _: None) if quiet else note
    ready = prepare(model, Everything(), destroy=destroy, forget=forget, stored=stored, sessions=sessions, say=say)
    try:
        yield ready
    finally:
        ready.fleet.close()


def note(text: str) -> None:
    """A progress note: on stderr, and only where a person watches."""
    if sys.stderr.isatty():
        typer.echo(text, err=True)


def show(ready: Prepared, *, verbose: bool = False) -> None:
    """Print the plan, and on stderr what stands in its way."""
    from infra.registry import Everything
    from infra.views import plan_text
    from infra.views.style import Style, wanted

    typer.echo(plan_text.render(ready.plan, Everything().headlines(), Style(wanted(sys.stdout)), verbose=verbose))
    if ready.plan.errors:
        from infra.views import diagnostics

        typer.echo(diagnostics.render(ready.plan.errors, color=wanted(sys.stderr)), err=True)


def exit_code(plan: Plan, *, detailed: bool) -> int:
    """The exit code of a plan: errors first, then servers that did not answer, then pending changes."""
    if plan.errors:
        return ERROR
    if plan.unreachable:
        return UNREACHABLE
    return CHANGES_PENDING if detailed and plan.changes else OK
