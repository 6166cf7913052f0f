"""What plan, apply and destroy share: read the manifest, prepare the plan, show it, choose an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from infra.cli import fail
from infra.cli.workers import BY_DEFAULT, ProcessOptions, working
from infra.errors import CHANGES_PENDING, ERROR, OK, UNREACHABLE, DynoctlError
from infra.model.text import enumeration
from infra.remote.parallel import AT_ONCE

if TYPE_CHECKING:
    from infra.engine.prepared import Prepared, Request
    from infra.manifest.model import Manifest
    from infra.plan.plan import Plan
    from infra.plan.selection import Selection
    from infra.registry import Everything
    from infra.remote.session import Session

NAMED = 8
"""Servers that a hint names."""


def _everything() -> Selection:
    from infra.plan.selection import EVERYTHING

    return EVERYTHING


@dataclass(frozen=True)
class PlanOptions:
    """What to plan, and how."""

    file: Path
    """The manifest."""
    destination: str | None = None
    destroy: bool = False
    end_runs: bool = False
    """Whether a destroy ends the one-off dynos that are under way."""
    forget: frozenset[str] = frozenset()
    """Servers that are no longer in the manifest and gone for good."""
    evacuate: frozenset[str] = frozenset()
    """Servers in the manifest that are dead; their dynos move."""
    force: bool = False
    """Whether servers that answer in some way may be forgotten and evacuated."""
    trust: frozenset[str] = frozenset()
    """Servers whose records of releases and settings are taken for true."""
    take_over: bool = False
    """Whether another manifest with this app name may have been applied last."""
    counts: Mapping[str, int] | None = None
    """Numbers of dynos by process type that override the manifest's."""
    rollback_to: str | None = None
    """The release to roll back to, such as ``v7``; "" is the last good one."""
    selection: Selection = field(default_factory=_everything)
    over_rollback: bool = False
    """Whether to undo a rollback that is held."""
    with_changes: bool = False
    """Whether a change of the number of dynos, an evacuation or a rollback also applies everything else that was
    edited."""
    parallelism: int = AT_ONCE
    """How many servers are worked on at the same time."""
    processes: ProcessOptions = BY_DEFAULT
    """The processes to work with."""
    skip_unreachable: bool = False
    rated: bool = False
    """Whether to rate the units' exposure and run the policy checks."""
    untrusted: bool = False
    """Whether the manifest is a stranger's."""
    rebalance: bool = False
    """Whether dynos move until the placement is even."""
    also: frozenset[str] = frozenset()
    """Servers that a preview has without dynos, as they lost its labels and may still run it."""
    drift: bool = False
    """Whether only what was changed by hand is looked for."""
    quiet: bool = False
    """Whether stdout is for a program, so that only the document is printed."""

    @property
    def as_running(self) -> bool:
        """Whether the release and the settings that are in force stay as they are."""
        return bool(self.counts or self.evacuate or self.rebalance) and not self.with_changes

    @property
    def as_written(self) -> bool:
        """Whether what the manifest says is planned."""
        return not (
            self.destroy or self.drift or self.as_running or (self.rollback_to is not None and not self.with_changes)
        )


@contextmanager
def prepared(options: PlanOptions) -> Iterator[Prepared]:
    """Plan a manifest; the sessions stay open inside the ``with`` block."""
    from infra import manifest
    from infra.engine.prepare import prepare
    from infra.engine.prepared import Request
    from infra.registry import Everything
    from infra.remote.parallel import limit
    from infra.slug.commit import origin_of
    from infra.state import last_applied
    from infra.views.progress import status

    limit(options.parallelism)
    if options.untrusted:
        from infra.manifest.untrusted import refuse_linked, restricted

        refuse_linked(options.file)
    model = manifest.read(options.file, options.destination, options.counts, options.also)
    if options.as_written:
        manifest.refuse_impossible(model)
    if not options.quiet:
        warn(model)
    _refuse_unknown(model, options.trust)
    if options.untrusted:
        model = restricted(model)
    request = Request(
        destroy=options.destroy,
        forget=options.forget,
        evacuate=options.evacuate,
        selection=options.selection,
        rated=options.rated,
        end_runs=options.end_runs,
        force=options.force,
        origin=origin_of(model.file, model.environment),
        take_over=options.take_over,
        hint=last_applied.read(model),
        over_rollback=options.over_rollback,
        untrusted=options.untrusted,
        known=last_applied.known(model),
        trust=options.trust,
        rebalance=options.rebalance,
        drift=options.drift,
    )
    registry = Everything()
    opened: dict[str, Session] = {}
    with working(options.processes, len(model.servers), model.app.name if options.untrusted else "") as connect:
        try:
            with status(quiet=options.quiet) as progress:
                progress("Reading the records")
                if options.rollback_to is not None:
                    model, request = _rolled_back(options, model, request, registry, opened)
                elif options.as_running:
                    model, request = _as_running(options, model, request, registry, opened)
                ready = prepare(model, registry, request, connect=connect, sessions=opened, progress=progress)
            try:
                yield ready
            finally:
                ready.fleet.close()
        finally:
            for session in opened.values():
                session.close()


def remember(ready: Prepared, *, ended: bool) -> None:
    """Remember on this computer where the app was applied, and digests of what; nothing after a destroy that ``ended``
    well."""
    from infra.engine import remembering
    from infra.state import config, last_applied
    from infra.state.vouching import seal, seal_settings

    stands = ended and not ready.destroy
    applied = ready.plan.release if stands else None
    last_applied.write(
        ready.manifest,
        remembering.servers(ready, ended=ended),
        release="" if applied is None else seal(applied),
        settings=seal_settings(config.document(ready.manifest)) if stands else "",
    )


def _as_running(
    options: PlanOptions, model: Manifest, request: Request, registry: Everything, sessions: dict[str, Session]
) -> tuple[Manifest, Request]:
    """The manifest and the request for what runs; unchanged if nothing runs yet."""
    from infra import manifest
    from infra.engine import running as engine
    from infra.fleet.inventory import targets
    from infra.state import releases

    found = releases.running(
        model.app.name, targets(model), registry.fits, sessions, releases.Trust(request.known, request.trust)
    )
    if found is None:
        return model, request
    written = manifest.read(options.file, options.destination)
    return engine.request(written, engine.Running(*found), registry, request, options.counts or {})


def _rolled_back(
    options: PlanOptions, model: Manifest, request: Request, registry: Everything, sessions: dict[str, Session]
) -> tuple[Manifest, Request]:
    """The manifest and the request for a rollback."""
    from infra.engine import running
    from infra.fleet.inventory import targets
    from infra.state import releases

    trusted = releases.Trust(request.known, request.trust)
    name = options.rollback_to or None
    stored, meta = releases.stored(model.app.name, name, targets(model), registry.fits, sessions, trusted)
    if options.with_changes:
        return model, replace(request, stored=stored)
    return running.rollback(model, stored, meta, request)


def _refuse_unknown(model: Manifest, trust: frozenset[str]) -> None:
    """Raise DynoctlError for a server to trust that is not in the manifest, and so has no effect."""
    from infra.manifest.suggestions import nearest

    hosts = {server.host: server.name for server in model.servers}
    names = [server.name for server in model.servers]
    for name in sorted(trust - {*names}):
        close = hosts.get(name) or nearest(name, names)
        raise DynoctlError(
            f"cannot trust {name}: no such server in {model.file.name}",
            f"did you mean {close}?" if close else f"available: {enumeration(names, NAMED)}",
        )


def warn(model: Manifest) -> None:
    """Print the warnings of a manifest on stderr."""
    if model.warnings:
        fail.diagnose(model.warnings)


def show(ready: Prepared, *, verbose: bool = False) -> None:
    """Print the plan, and its errors on stderr; with ``verbose`` also the lines of known_hosts that were skipped."""
    from infra.remote.active_workers import skipped_lines
    from infra.views.style import printable

    for where, why in skipped_lines() if verbose else ():
        typer.echo(f"Note: {where}: {printable(why)}: the line is skipped.", err=True)
    print_plan(ready.plan, verbose=verbose)
    if ready.plan.errors:
        from infra.views import alike_errors

        fail.diagnose(ready.plan.errors if verbose else alike_errors.folded(ready.plan))


def print_plan(plan: Plan, *, verbose: bool = False) -> None:
    """Print a plan: on one screen, or all of it."""
    from infra.registry import Everything
    from infra.views import plan_screen, plan_text
    from infra.views.style import Style, wanted
    from infra.views.wrapping import columns, wrapped

    style = Style(wanted(sys.stdout))
    if verbose:
        text = plan_text.render(plan, Everything().headlines(), style, verbose=True)
    else:
        text = plan_screen.render(plan, Everything().briefs(), style)
    typer.echo(wrapped(text, columns(sys.stdout)))


def exit_code(plan: Plan, *, detailed: bool, skip_unreachable: bool = False) -> int:
    """The exit code of a plan: errors come first, then unreachable servers, then pending changes."""
    if plan.errors:
        return ERROR
    if plan.missed and not skip_unreachable:
        return UNREACHABLE
    return CHANGES_PENDING if detailed and plan.changes else OK
