"""Remove what an apply created for a release that failed: its slug, its mount and its files, where nothing runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from infra.engine.context import Context
from infra.engine.groups import Group
from infra.errors import DynoctlError
from infra.model import merged_releases, release
from infra.model.events import Event, Failure
from infra.model.resource import Action
from infra.remote.parallel import each
from infra.state import records


def discard(context: Context, groups: Sequence[Group]) -> None:
    """Remove the resources of ``groups`` that this apply created, the last one first. What is never removed, such as a
    volume, stays, and so do the slugs of earlier releases on servers that have dynos."""
    plan, ledger = context.prepared.plan, context.ledger
    created: dict[str, list[Group]] = {}
    for group in groups:
        made = [change for change in group.changes if change.action is Action.CREATE]
        if made and ledger.was_made(group) and group.server not in ledger.lost:
            created.setdefault(group.server, []).append(group)
    if not created:
        return
    context.listener(Event("phase", text="clean up", total=sum(map(len, created.values()))))
    known = merged_releases.merge(observed.facts.releases for observed in context.recorder.found.values())
    kept = release.kept_slugs(known, context.prepared.manifest.keep)
    keys = context.prepared.registry.slug_keys(plan.app, kept)

    def work(server: str) -> None:
        observed = context.prepared.observer.look(context.shells[server])
        kept_here = keys if observed.facts.dynos(plan.app) else frozenset()
        for group in reversed(created[server]):
            (change,) = group.changes
            now = observed.resources.get(change.resource.key)
            if now is None or now.kept or not now.managed or change.resource.key in kept_here:
                continue
            removal = replace(change, action=Action.DELETE, before=now.attributes, after=None)
            commands = context.provider(change).steps(context.scope, removal)
            context.shells[server].run([*commands, records.write(plan.app, [records.applied(removal, {})])])
            ledger.discarded(group)

    for server, result in each(work, created).items():
        if isinstance(result, DynoctlError):
            ledger.report.failures.append(Failure(server, "clean up", result.summary, result.hint))
