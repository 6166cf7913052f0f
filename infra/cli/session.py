"""What plan, apply and destroy share: read the manifest, prepare the plan, show it, choose an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from infra.errors import CHANGES_PENDING, ERROR, OK, UNREACHABLE
from infra.plan.selection import EVERYTHING, Selection
from infra.remote.parallel import AT_ONCE

if TYPE_CHECKING:
    from infra.engine.prepared import Prepared
    from infra.model.shell import Session
    from infra.plan.plan import Plan
    from infra.state.release_body import Stored


@dataclass(frozen=True)
class Wish:
    """What is to be planned. ``forget`` are servers that left the manifest and will never answer again,
    ``evacuate`` such as are in it and dead; ``counts`` are numbers of dynos other than the manifest's; ``stored`` is a
    release to go back to, ``sessions`` are open already; ``parallelism`` says on how many servers something is done at
    the same time."""

    file: Path
    destination: str | None = None
    destroy: bool = False
    forget: frozenset[str] = frozenset()
    evacuate: frozenset[str] = frozenset()
    counts: Mapping[str, int] | None = None
    stored: Stored | None = None
    sessions: Mapping[str, Session] | None = None
    selection: Selection = EVERYTHING
    parallelism: int = AT_ONCE
    skip_unreachable: bool = False
    rated: bool = False
    quiet: bool = False


@contextmanager
def prepared(wish: Wish) -> Iterator[Prepared]:
    """The plan for a manifest, with its sessions open; closes them at the end."""
    from infra import manifest
    from infra.engine.prepare import prepare
    from infra.engine.prepared import Request
    from infra.registry import Everything
    from infra.remote.parallel import limit

    limit(wish.parallelism)
    model = manifest.read(wish.file, wish.destination, wish.counts)
    ready = prepare(
        model,
        Everything(),
        Request(wish.destroy, wish.forget, wish.evacuate, wish.stored, wish.selection, wish.rated),
        sessions=wish.sessions,
        progress=(lambda _: None) if wish.quiet else note,
    )
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


def exit_code(plan: Plan, *, detailed: bool, skip_unreachable: bool = False) -> int:
    """The exit code of a plan: errors first, then servers that did not answer, then pending changes."""
    if plan.errors:
        return ERROR
    if plan.missed and not skip_unreachable:
        return UNREACHABLE
    return CHANGES_PENDING if detailed and plan.changes else OK
