"""Restarts dynos as they run, a batch at a time; nothing is applied, and no source and no secret is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from infra import marks
from infra.apply import Applier
from infra.engine import Prepared
from infra.errors import DynoctlError
from infra.events import Report
from infra.formation import Formation, current_homes, recorded_homes
from infra.groups import Group, group, restarts
from infra.lock import Identity, lock_all
from infra.manifest.model import Manifest
from infra.memory import Memory
from infra.observe import Fleet, Observer, observe
from infra.plan import Plan, batches, fingerprint
from infra.provider import Scope
from infra.resource import Change, Command, Resource
from infra.stack import Registry
from infra.targets import targets

UNIT = "unit"
"""The kind of what runs a dyno."""


def prepare(
    manifest: Manifest, registry: Registry, names: Sequence[str], say: Callable[[str], None] = lambda _: None
) -> Prepared:
    """Observe the servers and plan a restart of the dynos and process types in ``names`` (patterns as the shell's; none
    named: all). Raises DynoctlError where one is of nothing that there is. Close the fleet when done."""
    stack = registry.stack(manifest)
    scope = Scope(manifest.app.name, "")
    observer = Observer(registry.providers, scope, stack.program, stack.executables)
    fleet = Fleet()
    try:
        say(f"Observing {len(manifest.servers)} servers ...")
        observe(targets(manifest), observer, fleet)
        facts = {name: seen.facts for name, seen in fleet.found.items()}
        recorded = recorded_homes(manifest, facts)
        homes = {**recorded, **current_homes(manifest.app.name, facts, recorded)}
        _refuse_strangers(names, homes, manifest)
        # What was restarted as it was has nothing to go back to.
        calm = replace(manifest, rollout=replace(manifest.rollout, auto_revert=False))
        plan = _plan(manifest, registry, names, fleet, homes)
        return Prepared(calm, registry, scope, observer, stack, None, fleet, plan)
    except BaseException:
        fleet.close()
        raise


def _plan(manifest: Manifest, registry: Registry, names: Sequence[str], fleet: Fleet, homes: dict[str, str]) -> Plan:
    provider = next(one for one in registry.providers if one.kind == UNIT)
    changes = []
    for dyno in sorted(homes, key=marks.dyno_order):
        server = homes[dyno]
        key = f"{manifest.app.name}-{dyno}"
        there = fleet.found[server].resources.get(f"{UNIT}.{key}") if server in fleet.found else None
        # What has no companion that waits for it is no dyno that runs all the time.
        if there is None or there.get("foreign") or not there.get("ready") or not _named(dyno, names):
            continue
        change = Change(Resource(server, UNIT, key, there, dyno), "restart", there, there, "asked for")
        changes.append(replace(change, effect=provider.effect(change)))
    moving = [str(change.resource.dyno) for change in changes if change.effect == "restart"]
    named = {dyno: home for dyno, home in homes.items() if _named(dyno, names)}
    return Plan(
        app=manifest.app.name,
        changes=tuple(changes),
        formation=Formation((), homes, homes),
        batches=batches(moving, manifest.rollout),
        unreachable={
            # One that is away is of interest where something was to restart there.
            name: error
            for name, error in fleet.unreachable.items()
            if not names or name in named.values()
        },
        leaving=(),
        errors=(),
        notes=(),
        fingerprint=fingerprint(fleet.found),
    )


def _refuse_strangers(names: Sequence[str], homes: dict[str, str], manifest: Manifest) -> None:
    types = sorted({*manifest.dynos, *(marks.parse_dyno(dyno)[0] for dyno in homes)})
    for pattern in names:
        if not any(fnmatchcase(name, pattern) for name in (*types, *homes)):
            dynos = sorted(homes, key=marks.dyno_order)
            raise DynoctlError(
                f"{pattern} is no dyno or process type of this app that runs",
                f"There is: {', '.join([*types, *dynos[:8]])}" + (", ..." if len(dynos) > 8 else ""),
            )


def _named(dyno: str, patterns: Sequence[str]) -> bool:
    names = (dyno, marks.parse_dyno(dyno)[0])
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


class Restarter(Applier):
    """One restart. It changes no file, so that nothing is remembered of it but a line of history."""

    def run(self) -> Report:
        """Raises LockTaken before anything is restarted; everything later is in the report."""
        prepared, plan = self._prepared, self._plan
        identity = Identity.here()
        found = prepared.fleet.found
        order = sorted(plan.servers, key=lambda name: found[name].facts.machine_id)
        sessions = {name: prepared.fleet.sessions[name] for name in order}
        self._shells |= lock_all(sessions, plan.app, identity, self._lock_timeout, self._waits, self.stop)
        began = time.monotonic()
        try:
            groups = group(plan)
            self._phase("start", [one for one in groups if not restarts(one)])
            self._rolling.run([one for one in groups if restarts(one)])
            self.report.interrupted = self.stop.is_set() and bool(self.report.skipped)
            memory = Memory(prepared, self._shells, found, identity, self._broken, self.report, self._fail, self._salts)
            memory.audit(time.monotonic() - began, "restart")
        finally:
            self._close()
        return self.report

    def _commands(self, one: Group) -> list[Command]:
        """Nothing but the restart: no record, as what was applied last is what it was."""
        scope = self._prepared.scope
        return [
            command for change in one.changes for command in self._providers[change.resource.kind].steps(scope, change)
        ]
