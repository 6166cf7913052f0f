"""Compute the plan from the request and the observed fleet: preconditions, diff, release and checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from infra.engine import credential_note, package_upgrades
from infra.engine.code_digest import this_build
from infra.engine.prepared import Inputs, Prepared
from infra.engine.running import WITH_CHANGES
from infra.errors import Diagnostic, DynoctlError, Unreachable
from infra.fleet import exposure
from infra.fleet.facts import Facts, newest_meta
from infra.fleet.identity import identify, recorded_connections
from infra.fleet.observe import Observed
from infra.manifest.references import located
from infra.model import lock_holder, merged_releases, naming, release, routing
from infra.model.formation import Formation
from infra.model.release import Release
from infra.model.resource import NOT_WANTED, Effect
from infra.plan import preconditions, replacements, upgrade, volumes
from infra.plan.build import build
from infra.plan.diff import BEING_APPLIED, INTERRUPTED
from infra.plan.formation import form
from infra.plan.plan import Plan
from infra.plan.policy import check
from infra.plan.unseen import unseen_routers
from infra.state.release_body import content


def plan(inputs: Inputs) -> Plan:
    """The plan with the results of the manifest's checks."""
    found = inputs.fleet.found
    return _under_way(
        _checked(inputs, _plan(inputs, found)), {name: observed.facts for name, observed in found.items()}
    )


def planned_again(before: Prepared, found: Mapping[str, Observed]) -> Plan | None:
    """The plan for ``found``, what the same servers are now; None if it differs from the one before."""
    known = [newest_meta(server.facts for server in seen.values()) for seen in (before.fleet.found, found)]
    if any(known[0].get(key) != known[1].get(key) for key in ("servers", "spares")):
        return None  # other servers may belong to the plan now
    try:
        now = _plan(before, {name: found[name] for name in before.fleet.found})
    except DynoctlError:
        return None  # such as a pattern that matches nothing any more
    if not now.does_the_same(before.plan):
        return None
    return replace(now, checks=before.plan.checks, exposure=before.plan.exposure)


def _under_way(plan: Plan, facts: Mapping[str, Facts]) -> Plan:
    """The plan, with who applies something at this moment. What differs then is what that apply has not finished: only
    afterwards it can be told what was changed by hand, or interrupted."""
    applying = lock_holder.holders(server.holder for server in facts.values())
    if not applying:
        return plan
    changes = (
        replace(change, reason="" if change.drift else change.reason.replace(INTERRUPTED, BEING_APPLIED), drift=False)
        for change in plan.changes
    )
    return replace(plan, applying=applying, changes=tuple(replace(change, drifted=()) for change in changes))


def _checked(inputs: Inputs, plan: Plan) -> Plan:
    """The plan with the results of its checks. A failed check is an error of the plan."""
    manifest, fleet = inputs.manifest, inputs.fleet
    if inputs.request.drift:
        return plan
    rated = inputs.request.rated or manifest.checks.max_exposure is not None
    if inputs.destroy:  # all of it is in the manifest
        changes = tuple(replace(c, reason="") if c.reason == NOT_WANTED else c for c in plan.changes)
        return replace(plan, changes=changes, wanted="")
    units = inputs.registry.units(plan.changes) if rated else {}
    if units:
        able = [name for name, observed in fleet.found.items() if observed.facts.systemd >= exposure.OFFLINE_AT_LEAST]
        rating = exposure.rate(units, fleet.sessions[able[0]]) if able else dict.fromkeys(units, (None, None))
        plan = replace(plan, exposure=rating)
    results = check(manifest, plan, {name: session.user for name, session in fleet.sessions.items()})
    failed = [
        Diagnostic(f"check {result.name} failed: {result.detail}", hint=f"the check is in {manifest.file.name}: checks")
        for result in results
        if not result.passed
    ]
    return replace(plan, checks=results, errors=(*plan.errors, *failed))


def _plan(inputs: Inputs, found: Mapping[str, Observed]) -> Plan:
    manifest, stack = inputs.manifest, inputs.stack
    facts = {name: observed.facts for name, observed in found.items()}
    staying = {name: facts[name] for name in facts if name not in inputs.leaving}
    unreachable = dict(inputs.fleet.unreachable)
    carried = {name: observed.resources for name, observed in found.items()}
    key_of = inputs.registry.volume_key
    gone = {
        name: f"{name} is no longer in dyno.yaml; this app is removed from it"
        for name in inputs.leaving
        if name in found and found[name].resources
    }
    notes = list(gone.values())
    routers = unseen_routers(manifest, facts.values(), unreachable, inputs.request.evacuate)
    end_runs = inputs.request.end_runs
    if inputs.destroy or inputs.slug is None:
        formation = Formation((), {}, {})
        return build(
            manifest.app.name,
            [],
            found,
            formation,
            inputs.registry.providers,
            unreachable,
            leaving=inputs.leaving,
            errors=[
                *preconditions.other_destinations(manifest, facts),
                *([] if end_runs else preconditions.one_offs(facts)),
                *located(manifest, list(inputs.problems)),
            ],
            notes=[*notes, *inputs.unseen, *_untouched(inputs), *volumes.notes(manifest, carried, (), key_of)],
            routers=routers,
            end_runs=end_runs,
        )
    errors = preconditions.check(manifest, stack, found, inputs.leaving, inputs.registry.package_key)
    closed = routing.closed(manifest.app.name, {name: server.routes for name, server in facts.items()})
    if closed:
        notes.append(f"maintenance mode is on ({', '.join(closed)}); to turn it off: dynoctl maintenance off")
    having = volumes.holders(stack.volumes, found, lambda name: key_of(manifest.app.name, name))
    errors += located(manifest, list(inputs.problems))
    carrying = volumes.labelled(stack.volumes, manifest)
    without = (inputs.request.evacuate, inputs.forgotten)
    level = inputs.request.rebalance
    formation = form(manifest, facts, unreachable, *without, volumes=carrying, holders=having, rebalance=level)
    notes[: len(gone)] = [note for name, note in gone.items() if name not in formation.homes.values()]
    desired = inputs.registry.desired(manifest, stack, inputs.slug, formation, inputs.scope, staying)
    errors += located(manifest, package_upgrades.refused(manifest, inputs.blocking))
    desired += [one for upgrades in inputs.blocking.values() for one in upgrades if manifest.packages.upgrade]
    errors += located(manifest, list(volumes.check(manifest, stack.volumes, formation, carried, key_of)))
    hint = inputs.request.hint.get(manifest.app.name, {})
    notes[:0] = [*replacements.new_machines(manifest, facts, hint), *inputs.unseen, *inputs.remarks]
    lost = replacements.lost_homes(manifest, inputs.request.evacuate, inputs.forgotten, facts)
    notes += volumes.lost_data(manifest.app.name, stack.volumes, formation, lost, carried, key_of)
    notes += volumes.notes(manifest, carried, [resource.address for resource in desired], key_of)
    releases = merged_releases.merge(server.releases for server in facts.values())
    slugs = release.kept_slugs(releases, manifest.keep, inputs.slug.digest)
    kept = inputs.registry.slug_keys(manifest.app.name, slugs)
    planned = build(
        manifest.app.name,
        desired,
        found,
        formation,
        inputs.registry.providers,
        unreachable,
        leaving=inputs.leaving,
        errors=[*errors, *located(manifest, list(formation.errors))],
        notes=[*notes, *formation.notes],
        manifest=manifest,
        kept=dict.fromkeys(set(formation.homes.values()), kept),
        build_with=inputs.slug.commands,
        builder=inputs.slug.builder,
        selection=inputs.request.selection,
        routers=routers,
    )
    if inputs.stored is None and (missing := credential_note.of(manifest, inputs.slug.left_out)):
        planned = replace(planned, notes=(*planned.notes, missing))
    plan = replace(planned, evacuated=tuple(sorted(inputs.request.evacuate)))
    dynos = {**formation.before, **formation.homes}
    inputs.request.selection.check_patterns([*unreachable, *found], dynos, manifest.dynos if unreachable else ())
    inputs.request.selection.check_replaced(plan.changes, _not_restarted(inputs, formation))
    if plan.left_out:
        many = "1 more change is" if plan.left_out == 1 else f"{plan.left_out} more changes are"
        by = str(inputs.request.selection)
        why = f"by {by}" if by else "because only dynos that start, stop or move are changed"
        plan = replace(plan, notes=(*plan.notes, f"{many} left out {why}"))
    if inputs.request.left_out:
        what = "; ".join(inputs.request.left_out)
        runs = f", as v{inputs.stored.number} runs on" if inputs.stored and inputs.request.running else ""
        note = f"left out{runs}: {what}; to include it: {WITH_CHANGES}"
        plan = replace(plan, notes=(*plan.notes, note))
    plan = replace(plan, errors=(*plan.errors, *_unvouched(inputs, plan)))
    wanted = plan.wanted if inputs.stored is None else f"v{inputs.stored.number}"
    return _explained(
        inputs, _released(inputs, replace(plan, slugs=slugs, wanted=wanted), releases, facts), releases, facts
    )


def _untouched(inputs: Inputs) -> list[str]:
    """The notes of the servers from which a destroy removes nothing."""
    app = inputs.manifest.app.name
    given_up = [
        f"{name} is given up, and nothing is removed from it; if it starts again, what it has of {app} is still there, "
        "and dynoctl destroy removes it"
        for name in sorted(inputs.request.forget)
    ]
    silent = [
        f"nothing is removed from {name}; if it is gone for good: dynoctl destroy --forget {name}"
        for name, why in inputs.fleet.unreachable.items()
        if isinstance(why, Unreachable) and why.silent
    ]
    return [*given_up, *silent]


def _unvouched(inputs: Inputs, plan: Plan) -> list[Diagnostic]:
    """The errors of records that would be used on servers that do not have them, although only one server does."""
    if inputs.stored is None:
        return []
    changed = {change.resource.server for change in plan.changes if not change.action.removes}
    errors = []
    for vouched in inputs.stored.vouched:
        if refused := vouched.refused(changed):
            names = " ".join(f"--trust {name}" for name in sorted(vouched.servers)[:1])
            instead = f"use dyno.yaml and the source: {WITH_CHANGES}" if inputs.request.running else "dynoctl releases"
            errors.append(Diagnostic(vouched.problem(refused), hint=f"{instead}; or if it is right: {names}"))
    return errors


def _not_restarted(inputs: Inputs, formation: Formation) -> dict[str, str]:
    """By dyno, why --replace does not restart it, if it does not."""
    scheduled = {job.name for job in inputs.manifest.schedule}
    reasons: dict[str, str] = {}
    for dyno in sorted({**formation.before, **formation.homes}, key=naming.dyno_order):
        home = formation.homes.get(dyno)
        if naming.parse_dyno(dyno)[0] in scheduled:
            reasons[dyno] = "is a schedule, which starts anew at each of its times"
        elif home is None:
            reasons[dyno] = "is removed"
        elif home in inputs.fleet.unreachable:
            reasons[dyno] = f"is on {home}, which is unreachable"
        else:
            reasons[dyno] = f"is not restarted by {inputs.request.selection}"
    return reasons


def _explained(inputs: Inputs, plan: Plan, releases: Sequence[Release], facts: Mapping[str, Facts]) -> Plan:
    """The plan, with a reason on changes that are due to another version of dynoctl than that of the last apply."""
    if not plan.changes or inputs.stored is not None:
        return plan
    why = upgrade.reason(
        newest_meta(facts.values()),
        this_build(),
        manifest=inputs.manifest.digest,
        last=release.newest(releases),
        fresh=plan.fresh,
        slug="" if inputs.slug is None else inputs.slug.digest,
    )
    return replace(plan, changes=upgrade.explain(plan.changes, why))


def _released(inputs: Inputs, plan: Plan, releases: Sequence[Release], facts: Mapping[str, Facts]) -> Plan:
    """The plan with its release: a new one if it runs something else, otherwise the one that it continues."""
    text = content(inputs.body)
    plan = replace(plan, running=release.current(releases))
    # An unfinished release is continued if it is to run the same; otherwise it is ignored.
    going_on = release.in_force(releases) if inputs.request.running else None
    candidates = (going_on, release.newest(releases), release.current(releases))
    chosen = next((candidate for candidate in candidates if candidate is not None and candidate.runs(text)), None)
    fresh = chosen is None
    meta = newest_meta(facts.values())
    known = identify(inputs.manifest, facts)
    machines = {
        machine: connection
        for machine, connection in recorded_connections(meta).items()
        if machine not in inputs.forgotten | known.replaced  # nobody waits for these
    }
    reached = [server_facts.machine_id for server_facts in facts.values()]
    if chosen is None:
        if not plan.changes:
            return plan
        digest = inputs.manifest.digest[:12]
        of = 0 if inputs.stored is None else inputs.stored.number
        used = {entry.number for entry in releases}
        bodies = set[int]().union(*(server_facts.bodies for server_facts in facts.values()))
        used |= {number for number in bodies if number <= max(used, default=0) + merged_releases.FAR}
        number = release.next_number(used, machines, reached, unknown_servers=not meta and bool(plan.unreachable))
        slug = "" if inputs.slug is None else inputs.slug.digest
        chosen = release.new(number, slug, text, manifest=digest, of=of, body=inputs.body)
        hold = None if inputs.stored is not None else release.hold(releases, slug, digest)
        if hold is not None and inputs.request.over_rollback:
            plan = replace(plan, notes=(*plan.notes, f"undoes v{hold.number}, the rollback to v{hold.of}"))
        elif hold is not None:
            plan = replace(plan, held=hold)
    if not fresh and inputs.stored is not None and not inputs.request.running:
        plan = replace(plan, notes=(*plan.notes, _no_new_release(chosen, releases, facts)))
    # A failed release command is retried. A rollback runs none, as its release already ran it.
    due = inputs.stack.release is not None and not chosen.commanded and not chosen.of
    moving = [server for (server, _), effect in plan.effects().items() if effect is not Effect.STOP]
    place = volumes.release_server(inputs.stack.volumes, plan.formation, moving) if due else None
    plan = replace(plan, release=chosen, fresh=fresh, release_on=place)
    evacuated = {machine for machine, name in known.servers.items() if name in inputs.request.evacuate}
    waited = {machine: connection for machine, connection in machines.items() if machine not in evacuated}
    unfinished = release.unfinished_command(releases, reached, waited)
    if plan.release_on is None or unfinished is None:
        return plan
    name = machines[unfinished.on].get("name", unfinished.on)
    unknown = Diagnostic(
        f"the release command of v{unfinished.number} may still be running on {name}, which is unreachable",
        hint=f"start {name} again; or remove it from the manifest and run: dynoctl apply --forget {name}",
    )
    return replace(plan, errors=(*plan.errors, unknown))


def _no_new_release(chosen: Release, releases: Sequence[Release], facts: Mapping[str, Facts]) -> str:
    """The note of a rollback to what is released already."""
    bodies = set[int]().union(*(server.bodies for server in facts.values()))
    further = release.further_back(chosen, releases, bodies)
    said = (
        f"v{chosen.number} is a rollback to v{chosen.of} already"
        if chosen.of
        else f"v{chosen.number} is released already"
    )
    return said if further is None else f"{said}; to go further back: dynoctl rollback v{further.number}"
