"""From a manifest to a plan: scan the source, observe the fleet, place the dynos, diff."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from infra.engine import lost_servers
from infra.errors import Diagnostic, DynoctlError
from infra.fleet import exposure
from infra.fleet.facts import Facts, newest_meta
from infra.fleet.inventory import leaving_targets, targets
from infra.fleet.observe import Fleet, Observed, Observer, observe
from infra.manifest.model import Manifest
from infra.manifest.references import located, resolve_credentials, resolve_environment, resolve_tls, resolver_of
from infra.model import release, routing
from infra.model.formation import Formation
from infra.model.provider import Scope
from infra.model.release import Release
from infra.model.shell import Connect, Session
from infra.model.stack import Registry, Slug, Stack
from infra.plan import preconditions, volumes
from infra.plan.build import build
from infra.plan.formation import form
from infra.plan.plan import Plan
from infra.plan.policy import check
from infra.plan.selection import EVERYTHING, Selection
from infra.remote import session as ssh
from infra.sensitive import Sensitive
from infra.state import records
from infra.state.release_body import Stored, content, pack


@dataclass
class Prepared:
    """A plan with everything that apply needs to carry it out. Close the fleet when done."""

    manifest: Manifest
    registry: Registry
    scope: Scope
    observer: Observer
    stack: Stack
    slug: Slug | None
    fleet: Fleet
    plan: Plan
    leaving: tuple[str, ...] = ()
    destroy: bool = False
    forget: frozenset[str] = frozenset()
    """Names of servers that left the manifest and will never answer again."""
    evacuate: frozenset[str] = frozenset()
    """Names of servers of the manifest that are dead: what lived there starts elsewhere."""
    body: str = ""
    """All that the wanted release runs, secrets included, as ``infra.state.release_body`` packs it."""
    stored: Stored | None = None
    """The release to go back to; None where the manifest says what is to run."""
    selection: Selection = EVERYTHING

    @property
    def emptied(self) -> frozenset[str]:
        """The servers that drain and carry no dyno or router after the plan: nothing of the app stays there, nor its
        records, as long as there are others to remember it."""
        idle = {server.name for server in self.manifest.servers if server.drain} & set(self.fleet.found)
        idle -= {*self.plan.formation.homes.values(), *(self.manifest.router.servers if self.manifest.router else ())}
        return frozenset(idle) if set(self.fleet.found) - idle - set(self.leaving) else frozenset()

    def records_outdated(self) -> bool:
        """Whether servers remember what is not so, though there is nothing to change on them."""
        if self.destroy:
            return not self.fleet.unreachable and any(seen.facts.meta for seen in self.fleet.found.values())
        one, there = self.plan.release, self.fleet.found
        if any(there[name].facts.meta for name in self.emptied) and not self.plan.left_out:
            return True
        if one is not None and not (self.plan.unreachable or self.plan.changes or self.plan.left_out):
            # Not ended, or ended while a server was away that does not know it yet.
            knowing = [name for name, seen in there.items() if one in seen.facts.releases]
            if one.result != release.OK or {*knowing, *self.leaving, *self.emptied} < set(there):
                return True
        return records.outdated(self.manifest, self.plan, self.fleet.found)


Progress = Callable[[str], None]


@dataclass
class _Draft(Prepared):
    plan: Plan = field(init=False)


def prepare(
    manifest: Manifest,
    registry: Registry,
    *,
    destroy: bool = False,
    forget: frozenset[str] = frozenset(),
    evacuate: frozenset[str] = frozenset(),
    stored: Stored | None = None,
    connect: Connect = ssh.Session,
    sessions: Mapping[str, Session] | None = None,
    selection: Selection = EVERYTHING,
    rated: bool = False,
    say: Progress = lambda _: None,
) -> Prepared:
    """Observe the servers and compute the plan. Servers that fail are named in it; nothing raises for one of them.

    ``forget`` names servers that left the manifest and are not asked any more, ``evacuate`` such as are in it and do
    not answer; raises DynoctlError where one does. With ``stored``, that release is
    wanted, and not what the manifest says of app, layers and environment. ``sessions`` are open already. Of all changes
    only those of ``selection`` are planned; raises DynoctlError where it names nothing that there is. With ``rated``
    (or where a check needs it) a server rates how exposed the units are that change."""
    stack = registry.stack(manifest) if stored is None else _again(stored, registry.stack(manifest))
    environment, credentials = ({}, {}) if destroy else _secrets(manifest, stored)
    scope = Scope(
        manifest.app.name,
        secrets.token_hex(16),
        {} if destroy else dict.fromkeys(manifest.types, environment),
        credentials,
        () if destroy else stack.packages,
        "" if destroy else registry.router(manifest),
        {} if destroy else resolve_tls(manifest),
    )
    observer = Observer(registry.providers, scope, stack.program, stack.executables)
    fleet = Fleet()
    try:
        say(f"Observing {len(manifest.servers)} servers ...")
        with ThreadPoolExecutor(max_workers=1) as pool:
            scanning = None if destroy or stored else pool.submit(registry.slug, manifest, stack)
            observe(targets(manifest), observer, fleet, connect, sessions)
            lost_servers.refuse_evacuation(evacuate, manifest, fleet)
            slug = None if scanning is None else scanning.result()
        if stored is not None:
            slug = _slug_of(stored, manifest, registry, fleet)
        left = leaving_targets(manifest, {name: seen.facts for name, seen in fleet.found.items()})
        if strangers := forget - {target.name for target in left}:
            raise DynoctlError(
                f"No server called {', '.join(sorted(strangers))} has left {manifest.file.name}",
                "Forget only what is not in the manifest any more and is named as unreachable.",
            )
        left = [target for target in left if target.name not in forget]
        if forget:
            lost_servers.refuse_forgetting(forget, manifest, fleet, observer, connect)
        if left:
            say(f"Observing {len(left)} servers that left the manifest ...")
            observe(left, observer, fleet, connect)
        draft = _Draft(
            manifest,
            registry,
            scope,
            observer,
            stack,
            slug,
            fleet,
            leaving=tuple(target.name for target in left),
            destroy=destroy,
            forget=forget,
            evacuate=evacuate,
            body="" if slug is None else pack(stack, slug.digest, environment, credentials),
            stored=stored,
            selection=selection,
        )
        draft.plan = _plan(draft, fleet.found)
        draft.plan = _checked(draft, rated or manifest.checks.max_exposure is not None)
        return draft
    except BaseException:
        fleet.close()
        raise


def _checked(prepared: Prepared, rated: bool) -> Plan:
    """The plan with what its checks say of it; one that fails stands in the way of an apply."""
    manifest, plan, fleet = prepared.manifest, prepared.plan, prepared.fleet
    if prepared.destroy:
        return plan
    units = prepared.registry.units(plan.changes) if rated else {}
    if units:
        able = [name for name, seen in fleet.found.items() if seen.facts.systemd >= exposure.OFFLINE_AT_LEAST]
        rating = exposure.rate(units, fleet.sessions[able[0]]) if able else dict.fromkeys(units, (None, None))
        plan = replace(plan, exposure=rating)
    answers = check(manifest, plan, {name: session.user for name, session in fleet.sessions.items()})
    failed = [
        Diagnostic(f"the check {one.name} fails: {one.detail}", hint="It stands under checks in the manifest.")
        for one in answers
        if not one.passed
    ]
    return replace(plan, checks=answers, errors=(*plan.errors, *failed))


def _secrets(
    manifest: Manifest, stored: Stored | None
) -> tuple[Mapping[str, str | Sensitive], Mapping[str, Sensitive]]:
    """The variables and the credentials of every dyno: fetched now, or those of a stored release."""
    if stored is not None:
        return stored.environment, stored.credentials
    resolver = resolver_of(manifest)  # one for both: what a program gives may be given once
    return resolve_environment(manifest, resolver), resolve_credentials(manifest, resolver)


def _again(stored: Stored, now: Stack) -> Stack:
    """The stack of a stored release; a process type that it did not know runs what the manifest says today."""
    return replace(stored.stack, commands={**now.commands, **stored.stack.commands})


def _slug_of(stored: Stored, manifest: Manifest, registry: Registry, fleet: Fleet) -> Slug:
    app = manifest.app.name
    (key,) = registry.kept(app, [stored.slug])
    holders = [name for name, seen in fleet.found.items() if key in seen.resources]

    def download(path: str, local: Path) -> None:
        if not holders:
            raise DynoctlError(
                f"The slug of v{stored.number} is on no server any more, and not on this machine",
                "Check its commit out and apply that.",
            )
        fleet.sessions[holders[0]].download(path, local)

    return registry.stored(app, stored.slug, download)


def _plan(prepared: Prepared, found: Mapping[str, Observed]) -> Plan:
    manifest, stack = prepared.manifest, prepared.stack
    facts = {name: seen.facts for name, seen in found.items()}
    staying = {name: one for name, one in facts.items() if name not in prepared.leaving}
    unreachable = dict(prepared.fleet.unreachable)
    carried = {name: seen.resources for name, seen in found.items()}
    key_of = prepared.registry.volume_key
    notes = [
        f"{name} is not in dyno.yaml any more; what it carries of this app is removed"
        for name in prepared.leaving
        if name in found and found[name].resources
    ]
    if prepared.destroy or prepared.slug is None:
        formation = Formation((), {}, {})
        return build(
            manifest.app.name,
            [],
            found,
            formation,
            prepared.registry.providers,
            unreachable,
            prepared.leaving,
            list(preconditions.other_destinations(manifest, facts)),
            notes=[*notes, *volumes.notes(manifest, carried, (), key_of)],
        )
    errors = preconditions.check(manifest, stack, found, prepared.leaving, prepared.registry.package_key)
    closed = routing.closed(manifest.app.name, {name: one.routes for name, one in facts.items()})
    if closed:
        notes.append(f"{', '.join(closed)} shows the maintenance page; dynoctl maintenance off ends it")
    formation = form(manifest, facts, unreachable, prepared.evacuate)
    desired = prepared.registry.desired(manifest, stack, prepared.slug, formation, prepared.scope, staying)
    errors += located(manifest, list(volumes.check(manifest, stack.volumes, formation, carried, key_of)))
    notes += volumes.lost(manifest.app.name, stack.volumes, formation, prepared.evacuate, carried, key_of)
    notes += volumes.notes(manifest, carried, [one.address for one in desired], key_of)
    known = release.merge(one.releases for one in facts.values())
    slugs = release.kept(known, manifest.keep, prepared.slug.digest)
    stays = prepared.registry.kept(manifest.app.name, slugs)
    planned = build(
        manifest.app.name,
        desired,
        found,
        formation,
        prepared.registry.providers,
        unreachable,
        prepared.leaving,
        [*errors, *formation.errors],
        [*notes, *formation.notes],
        rollout=manifest.rollout,
        stays=dict.fromkeys(set(formation.homes.values()), stays),
        build_with=prepared.slug.commands,
        builder=prepared.slug.builder,
        selection=prepared.selection,
    )
    plan = replace(planned, evacuated=tuple(sorted(prepared.evacuate)))
    prepared.selection.refuse_strangers([*unreachable, *found], {**formation.before, **formation.homes})
    if plan.left_out:
        many = "1 more change is" if plan.left_out == 1 else f"{plan.left_out} more changes are"
        plan = replace(plan, notes=(*plan.notes, f"{many} due, and left out by {prepared.selection}"))
    wanted = plan.wanted if prepared.stored is None else f"v{prepared.stored.number}"
    return _released(prepared, replace(plan, slugs=slugs, wanted=wanted), known, facts)


def _released(prepared: Prepared, plan: Plan, known: Sequence[Release], facts: Mapping[str, Facts]) -> Plan:
    """The plan with its release: a new one where what runs becomes another, and else the one that it goes on with."""
    text = content(prepared.body)
    # What was cut off before any dyno moved is gone on with; else it is as if it had never been.
    candidates = (release.newest(known), release.current(known))
    one = next((one for one in candidates if one is not None and one.runs(text)), None)
    fresh = one is None
    meta = newest_meta(facts.values())
    machines = {
        machine: how
        for machine, how in {**meta.get("spares", {}), **meta.get("servers", {})}.items()
        if how.get("name") not in prepared.forget
    }
    reached = [seen.machine_id for seen in facts.values()]
    if one is None:
        if not plan.changes:
            return plan
        digest = prepared.manifest.digest[:12]
        of = 0 if prepared.stored is None else prepared.stored.number
        used = {seen.number for seen in known}.union(*(seen.bodies for seen in facts.values()))
        number = release.next_number(used, machines, reached, strangers=not meta and bool(plan.unreachable))
        slug = "" if prepared.slug is None else prepared.slug.digest
        one = release.new(number, slug, text, manifest=digest, of=of)
    # A command that did not end well is tried again; what a rollback went back to had its own once.
    due = prepared.stack.release is not None and not one.commanded and not one.of
    moving = [server for (server, _), effect in plan.effects().items() if effect != "stop"]
    plan = replace(plan, release=one, fresh=fresh, release_on=moving[0] if due and moving else None)
    waited = {machine: how for machine, how in machines.items() if how.get("name") not in prepared.evacuate}
    lost = release.unheard(known, reached, waited)
    if plan.release_on is None or lost is None:
        return plan
    name = machines[lost.on].get("name", lost.on)
    unknown = Diagnostic(
        f"The release command of v{lost.number} was begun on {name}, which does not answer: it may still run",
        hint=f"Bring {name} back; or take it out of the manifest and say dynoctl apply --forget {name}.",
    )
    return replace(plan, errors=(*plan.errors, unknown))
