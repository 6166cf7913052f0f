"""Build a plan: diff every server, order the changes, and group the restarts into batches."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from infra.errors import Diagnostic, DynoctlError
from infra.fleet.observe import Observed
from infra.manifest.model import Manifest, Rollout
from infra.model import naming
from infra.model.formation import Formation
from infra.model.provider import Provider
from infra.model.resource import Action, Change, Effect, Resource
from infra.plan.batches import batches, canary_notes, share, values_of, waves
from infra.plan.diff import diff
from infra.plan.plan import Plan, effects
from infra.plan.selection import EVERYTHING, Selection
from infra.plan.unseen import hold, unfinished_moves


def build(
    app: str,
    desired: Sequence[Resource],
    found: Mapping[str, Observed],
    formation: Formation,
    providers: Sequence[Provider],
    unreachable: Mapping[str, DynoctlError],
    *,
    leaving: Sequence[str] = (),
    errors: Sequence[Diagnostic] = (),
    notes: Sequence[str] = (),
    manifest: Manifest | None = None,
    kept: Mapping[str, Container[str]] | None = None,
    build_with: tuple[str, ...] = (),
    builder: str | None = None,
    selection: Selection = EVERYTHING,
    routers: Sequence[str] = (),
    end_runs: bool = False,
) -> Plan:
    """Diff every reachable server and order the changes. ``kept`` are, by server, the keys of resources that are kept
    although they are no longer desired. The plan has only the changes chosen by ``selection``. ``routers`` are the
    servers with a router that could not be observed. With ``end_runs``, one-off dynos hold nothing back."""
    by_kind = {provider.kind: provider for provider in providers}
    rank = {provider.kind: number for number, provider in enumerate(providers)}
    wanted: dict[str, list[Resource]] = {server: [] for server in found}
    for resource in desired:
        wanted[resource.server].append(resource)
    changes: list[Change] = []
    problems = list(errors)
    for server, observed in found.items():
        differing, conflicts = diff(
            server, wanted[server], observed, by_kind, (kept or {}).get(server, ()), selection.restarts
        )
        changes += differing
        problems += conflicts
    order = {server: number for number, server in enumerate(found)}
    changes.sort(key=lambda change: _order(change, order, rank))
    changes = [_moved(change, formation) for change in changes]
    one_offs = {} if end_runs else {server: observed.facts.one_offs for server, observed in found.items()}
    moving = unfinished_moves({server: observed.facts for server, observed in found.items()})
    held = hold(changes, formation, by_kind, unreachable, routers, one_offs, moving=moving)
    due = changes = [change for change in changes if not held.includes(change)]
    proving = candidates(due, wanted)
    changes = _with_routers(selection.choose(due), due, by_kind)
    going = {change.resource.address for change in changes}
    left_out = [change for change in due if change.resource.address not in going]
    booting = {server for (server, dyno), effect in effects(changes).items() if effect.boots and _web(dyno)}
    restarts = {dyno: server for (server, dyno), effect in effects(changes).items() if effect is Effect.RESTART}
    boots = sum(effect.boots for effect in effects(changes).values())
    rollout = manifest.rollout if manifest else Rollout()
    values = values_of(rollout, manifest.servers if manifest else (), restarts)
    made = batches(sorted(restarts, key=naming.dyno_order), rollout, values)
    return Plan(
        app=app,
        changes=tuple(changes),
        formation=formation,
        batches=made,
        waves=waves(made, values),
        unreachable=dict(unreachable),
        leaving=tuple(leaving),
        errors=tuple(problems),
        notes=(*notes, *held.notes, *canary_notes(made, rollout, values), *_staying(wanted, found)),
        fingerprint=lambda: fingerprint(found),
        candidates=tuple(server for server in proving if server in booting),
        build=build_with if any(change.action is Action.CREATE and change.resource.local for change in changes) else (),
        builder=builder,
        left_out=len(left_out),
        left_on=frozenset([change.resource.server for change in left_out] + [*held.servers]),
        busy=frozenset(server for server, running in one_offs.items() if running),
        canary=bool(rollout.canary and restarts),
        max_failures=share(rollout.max_failures, boots),
        idle=frozenset(dyno for (_, dyno), effect in effects(left_out).items() if effect is Effect.START),
    )


def _with_routers(chosen: Sequence[Change], due: Sequence[Change], providers: Mapping[str, Provider]) -> list[Change]:
    """The chosen changes, with the removal of routers that would lead to dynos which are removed."""
    leaving = {change.resource.dyno for change in chosen if change.effect is Effect.STOP}
    addresses = {change.resource.address for change in chosen}

    def needed(change: Change) -> bool:
        leads = providers[change.resource.kind].upstreams(change) if change.resource.follows else {}
        return change.resource.address in addresses or (change.action.removes and not leaving.isdisjoint(leads))

    return [change for change in due if needed(change)]


def _staying(wanted: Mapping[str, Sequence[Resource]], found: Mapping[str, Observed]) -> list[str]:
    """A note for everything that stays on a server although nothing of the app remains there."""
    return [
        f"kept on {server}: {key.partition('.')[2]}, {resource.stays}"
        for server, observed in found.items()
        if not wanted[server]
        for key, resource in observed.resources.items()
        if resource.kept and resource.stays
    ]


def _moved(change: Change, formation: Formation) -> Change:
    """The change; if it is a removal because the dyno moves to another server, with that as its reason."""
    home = formation.homes.get(change.resource.dyno or "", change.resource.server)
    moves = change.action.removes and home != change.resource.server
    return replace(change, reason=f"{change.resource.dyno} moves to {home}") if moves else change


def candidates(changes: Sequence[Change], wanted: Mapping[str, Sequence[Resource]]) -> tuple[str, ...]:
    """The servers that need a candidate: those where a web dyno starts or restarts. None if an unchanged web dyno
    already runs the release, which shows that it answers."""
    touched = effects(changes)
    moving = {server for (server, dyno), effect in touched.items() if effect.boots and _web(dyno)}
    proven = any(
        (server, resource.dyno) not in touched
        for server, resources in wanted.items()
        for resource in resources
        if resource.dyno is not None and _web(resource.dyno)
    )
    return () if proven else tuple(server for server in wanted if server in moving)


def _web(dyno: str) -> bool:
    return naming.parse_dyno(dyno)[0] == "web"


def fingerprint(found: Mapping[str, Observed]) -> str:
    """A digest of everything that was observed. A plan is stale if it has changed."""
    text = "\n".join(f"{server} {found[server].fingerprint()}" for server in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()


def _order(change: Change, servers: Mapping[str, int], rank: Mapping[str, int]) -> tuple[object, ...]:
    """The sort key: servers in the order of the manifest; on each, what dynos depend on, then dynos, routers, and
    removals in reverse order."""
    resource = change.resource
    dyno = ("", 0) if resource.dyno is None else naming.dyno_order(resource.dyno)
    place = rank[resource.kind]
    if change.action.removes:
        return (
            servers[resource.server],
            1,
            (0 if resource.follows else 1 if resource.dyno else 2),
            (dyno[0], -dyno[1]),
            -place,
            resource.name,
        )
    after = 2 if resource.follows else 1 if resource.dyno else 0
    return (servers[resource.server], 0, after, dyno, place, resource.name)
