"""Restart dynos without changing them, in batches; the source and the secrets are not read."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from infra.engine import not_restarted
from infra.engine.apply import lock_servers, look
from infra.engine.context import Context
from infra.engine.explanation import CautiousExplanation
from infra.engine.ledger import Ledger
from infra.engine.phases import RESTART
from infra.engine.plan_options import restarted
from infra.engine.prepared import Prepared, Request, StalePlan
from infra.engine.recording import Recorder
from infra.errors import DynoctlError
from infra.fleet.inventory import targets
from infra.fleet.lock import Identity
from infra.fleet.observe import Fleet, Observer, observe
from infra.fleet.problems import cure_while_held
from infra.manifest.model import Manifest
from infra.model import merged_releases, naming
from infra.model.clock import Clock, SystemClock
from infra.model.events import Listener, Report, steady
from infra.model.formation import Formation
from infra.model.provider import Scope
from infra.model.redact import redactor
from infra.model.release import hold
from infra.model.resource import Action, Change, Resource
from infra.model.shell import Connect, Shell
from infra.model.stack import Registry
from infra.plan import preconditions
from infra.plan.batches import batches, canary_notes, share, values_of, waves
from infra.plan.build import fingerprint
from infra.plan.formation import current_homes, recorded_homes
from infra.plan.plan import Plan
from infra.remote import session as ssh
from infra.remote.parallel import each


def prepare(
    manifest: Manifest,
    registry: Registry,
    names: Sequence[str],
    *,
    connect: Connect = ssh.Session,
    progress: Callable[[str], None] = lambda _: None,
) -> Prepared:
    """Observe the servers and plan a restart of the dynos and process types that match the shell patterns in ``names``
    (empty: all). Raises DynoctlError if a pattern matches nothing, or if a server runs another destination of the app.
    Close the fleet when done."""
    stack = registry.stack(manifest)
    scope = Scope(manifest.app.name, secrets.token_hex(16))
    observer = Observer(registry.providers, scope, stack.program, stack.executables)
    fleet = Fleet()
    try:
        observe(targets(manifest), observer, fleet, connect, progress=progress)
        facts = {name: observed.facts for name, observed in fleet.found.items()}
        preconditions.refuse_others(manifest, {name: seen.meta for name, seen in facts.items()})
        recorded = recorded_homes(manifest, facts)
        homes = {**recorded, **current_homes(manifest.app.name, facts, recorded)}
        _check_patterns(names, homes, manifest, fleet)
        # A restart changes nothing, so there is nothing to revert to.
        calm = replace(manifest, rollout=replace(manifest.rollout, auto_revert=False))
        changes = _changes(manifest, registry, names, fleet, homes)
        restarted = {str(change.resource.dyno) for change in changes}  # one that does not run is started
        left = not_restarted.reasons(manifest, fleet.found, homes, restarted)
        held = hold(merged_releases.merge(seen.releases for seen in facts.values()), None, manifest.digest)
        left = {
            dyno: why if held is None else cure_while_held(why, held)
            for dyno, why in left.items()
            if _named(dyno, names)
        }
        plan = _plan(manifest, names, fleet, homes, changes, [f"{dyno} {why}" for dyno, why in left.items()])
        _check_restarted(names, homes, manifest, plan, left)
        return Prepared(
            manifest=calm,
            registry=registry,
            request=Request(),
            scope=scope,
            observer=observer,
            stack=stack,
            slug=None,
            fleet=fleet,
            plan=plan,
        )
    except BaseException:
        fleet.close()
        raise


def _changes(
    manifest: Manifest, registry: Registry, names: Sequence[str], fleet: Fleet, homes: dict[str, str]
) -> list[Change]:
    changes = []
    for dyno in sorted(homes, key=naming.dyno_order):
        server, key = homes[dyno], f"{manifest.app.name}-{dyno}"
        resources = fleet.found[server].resources if server in fleet.found else {}
        for provider in registry.providers if _named(dyno, names) else ():
            found = resources.get(f"{provider.kind}.{key}")
            if found is None or not found.managed:
                continue
            now = found.attributes
            change = Change(Resource(server, provider.kind, key, now, dyno), Action.RESTART, now, now, "requested")
            effect = provider.effect(change)
            # A unit without a health check is not a dyno that runs permanently.
            if effect is not None and now.get("ready"):
                changes.append(replace(change, effect=effect))
    return changes


def _plan(
    manifest: Manifest,
    names: Sequence[str],
    fleet: Fleet,
    homes: dict[str, str],
    changes: Sequence[Change],
    notes: Sequence[str],
) -> Plan:
    moving = [str(change.resource.dyno) for change in changes if change.restarts]
    values = values_of(manifest.rollout, manifest.servers, {dyno: homes[dyno] for dyno in moving})
    made = batches(moving, manifest.rollout, values)
    named = {dyno: home for dyno, home in homes.items() if _named(dyno, names)}
    return Plan(
        app=manifest.app.name,
        changes=tuple(changes),
        formation=Formation((), homes, homes),
        batches=made,
        waves=waves(made, values),
        max_failures=share(manifest.rollout.max_failures, len(changes)),
        unreachable={
            # Other unreachable servers do not matter for this restart.
            name: error
            for name, error in fleet.unreachable.items()
            if not names or name in named.values()
        },
        leaving=(),
        errors=(),
        notes=(*notes, *canary_notes(made, manifest.rollout, values)),
        fingerprint=lambda: fingerprint(fleet.found),
    )


def _check_patterns(names: Sequence[str], homes: dict[str, str], manifest: Manifest, fleet: Fleet) -> None:
    types = sorted({*manifest.dynos, *(naming.parse_dyno(dyno)[0] for dyno in homes)})
    for pattern in names:
        if not any(fnmatchcase(name, pattern) for name in (*types, *homes)):
            unreachable = f"; unreachable: {', '.join(fleet.unreachable)}" if fleet.unreachable else ""
            dynos = sorted(homes, key=naming.dyno_order)
            raise DynoctlError(
                f"{pattern} matches no running dyno or process type of this app",
                f"available: {', '.join([*types, *dynos[:8]])}" + (", ..." if len(dynos) > 8 else "") + unreachable,
            )


def _check_restarted(
    names: Sequence[str], homes: dict[str, str], manifest: Manifest, plan: Plan, left: Mapping[str, str]
) -> None:
    """Raise DynoctlError if a pattern matches only schedules and dynos that do not exist."""
    restarted = {change.resource.dyno for change in plan.changes}
    scheduled = {job.name for job in manifest.schedule}
    for pattern in names:
        matched = [dyno for dyno in homes if _named(dyno, (pattern,))]
        if not restarted.intersection(matched) and not any(homes[dyno] in plan.unreachable for dyno in matched):
            jobs = [dyno for dyno in matched if naming.parse_dyno(dyno)[0] in scheduled]
            why = f"{jobs[0]} is a schedule, which starts anew at each of its times" if jobs else "it has no dyno"
            missing = [f"{dyno} {left[dyno]}" for dyno in matched if dyno in left]
            if missing:
                raise DynoctlError(f"cannot restart {pattern}: {missing[0]}", "see what runs: dynoctl ps")
            raise DynoctlError(f"cannot restart {pattern}: {why}", "list the dynos and their states: dynoctl ps")


def _named(dyno: str, patterns: Sequence[str]) -> bool:
    names = (dyno, naming.parse_dyno(dyno)[0])
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


class Restarter:
    """One restart. It changes no files, so only a line in the audit log is recorded. ``began`` as in
    ``ApplyOptions``."""

    def __init__(
        self,
        prepared: Prepared,
        listener: Listener,
        lock_timeout: float | None = None,
        clock: Clock | None = None,
        *,
        began: float | None = None,
    ) -> None:
        self._prepared = prepared
        self._listener = steady(listener)
        self._lock_timeout = lock_timeout
        self._began = began
        self._clock = clock or SystemClock()
        self.stop = threading.Event()

    def run(self) -> Report:
        """Restart the dynos. Raises LockTaken or StalePlan before anything is restarted; later errors are in the
        report."""
        prepared = self._prepared
        identity = Identity.current(self._clock, "restarting dynos")
        shells = lock_servers(
            prepared,
            prepared.plan.servers,
            identity,
            timeout=self._lock_timeout,
            listener=self._listener,
            stop=self.stop,
            clock=self._clock,
        )
        try:
            return self._restart(shells, identity)
        finally:
            each(lambda name: shells[name].close(), shells)

    def _restart(self, shells: Mapping[str, Shell], identity: Identity) -> Report:
        prepared = self._prepared
        began = self._clock.monotonic() if self._began is None else self._began
        found = look(prepared, shells)
        for change in prepared.plan.changes:
            server, now = change.resource.server, found[change.resource.server].resources.get(change.resource.key)
            if now is None or not now.managed:
                raise StalePlan(
                    f"stale plan: {change.resource.dyno} is no longer on {server}; nothing was restarted",
                    "restart again: dynoctl restart",
                )
        ledger = Ledger(self._listener, redactor([]), prepared.plan.max_failures)
        recorder = Recorder(
            prepared=prepared,
            shells=shells,
            found=found,
            identity=identity,
            ledger=ledger,
            invocation=restarted(prepared),
            restart=True,
        )
        context = Context.of(
            prepared,
            shells=shells,
            recorder=recorder,
            listener=self._listener,
            explain=CautiousExplanation(),
            stop=self.stop,
            clock=self._clock,
        )
        for phase in RESTART:
            context = phase(context)
        ledger.report.interrupted = self.stop.is_set() and bool(ledger.report.skipped)
        ledger.report.seconds = round(self._clock.monotonic() - began, 1)
        recorder.audit(self._listener)
        return ledger.report
