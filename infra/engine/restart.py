"""Restarts dynos as they run, a batch at a time; nothing is applied, and no source and no secret is read."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from infra.engine.apply import Applier
from infra.engine.groups import Group, group, restarts
from infra.engine.prepare import Prepared
from infra.engine.recording import Memory
from infra.errors import DynoctlError
from infra.fleet.inventory import targets
from infra.fleet.lock import Identity, lock_all
from infra.fleet.observe import Fleet, Observer, observe
from infra.manifest.model import Manifest
from infra.manifest.references import resolve_credentials, resolve_environment, resolver_of
from infra.model import naming
from infra.model.events import Listener, Report
from infra.model.formation import Formation
from infra.model.provider import Scope
from infra.model.redact import redactor
from infra.model.resource import Change, Command, Fingerprint, Resource
from infra.model.shell import StepFailed
from infra.model.stack import Registry
from infra.plan.build import batches, fingerprint
from infra.plan.formation import current_homes, recorded_homes
from infra.plan.plan import Plan
from infra.remote.session import Session
from infra.sensitive import Sensitive


def prepare(
    manifest: Manifest, registry: Registry, names: Sequence[str], say: Callable[[str], None] = lambda _: None
) -> Prepared:
    """Observe the servers and plan a restart of the dynos and process types in ``names`` (patterns as the shell's; none
    named: all). Raises DynoctlError where one is of nothing that there is. Close the fleet when done."""
    stack = registry.stack(manifest)
    scope = Scope(manifest.app.name, secrets.token_hex(16))
    observer = Observer(registry.providers, scope, stack.program, stack.executables)
    fleet = Fleet()
    try:
        say(f"Observing {len(manifest.servers)} servers ...")
        observe(targets(manifest), observer, fleet, Session)
        facts = {name: seen.facts for name, seen in fleet.found.items()}
        recorded = recorded_homes(manifest, facts)
        homes = {**recorded, **current_homes(manifest.app.name, facts, recorded)}
        _refuse_strangers(names, homes, manifest, fleet)
        # What was restarted as it was has nothing to go back to.
        calm = replace(manifest, rollout=replace(manifest.rollout, auto_revert=False))
        plan = _plan(manifest, registry, names, fleet, homes)
        return Prepared(calm, registry, scope, observer, stack, None, fleet, plan)
    except BaseException:
        fleet.close()
        raise


def _plan(manifest: Manifest, registry: Registry, names: Sequence[str], fleet: Fleet, homes: dict[str, str]) -> Plan:
    changes = []
    for dyno in sorted(homes, key=naming.dyno_order):
        server, key = homes[dyno], f"{manifest.app.name}-{dyno}"
        resources = fleet.found[server].resources if server in fleet.found else {}
        for provider in registry.providers if _named(dyno, names) else ():
            there = resources.get(f"{provider.kind}.{key}")
            if there is None or there.get("foreign"):
                continue
            change = Change(Resource(server, provider.kind, key, there, dyno), "restart", there, there, "asked for")
            effect = provider.effect(change)
            # What has no companion that waits until it answers is no dyno that runs all the time.
            if effect is not None and there.get("ready"):
                changes.append(replace(change, effect=effect))
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


def _refuse_strangers(names: Sequence[str], homes: dict[str, str], manifest: Manifest, fleet: Fleet) -> None:
    types = sorted({*manifest.dynos, *(naming.parse_dyno(dyno)[0] for dyno in homes)})
    for pattern in names:
        if not any(fnmatchcase(name, pattern) for name in (*types, *homes)):
            away = f". {', '.join(fleet.unreachable)} did not answer" if fleet.unreachable else ""
            dynos = sorted(homes, key=naming.dyno_order)
            raise DynoctlError(
                f"{pattern} is no dyno or process type of this app that runs",
                f"There is: {', '.join([*types, *dynos[:8]])}" + (", ..." if len(dynos) > 8 else "") + away,
            )


def _named(dyno: str, patterns: Sequence[str]) -> bool:
    names = (dyno, naming.parse_dyno(dyno)[0])
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


class Restarter(Applier):
    """One restart. It changes no file, so that nothing is remembered of it but a line of history."""

    def __init__(self, prepared: Prepared, listener: Listener, lock_timeout: float = 0) -> None:
        super().__init__(prepared, listener, lock_timeout=lock_timeout)
        self._asking = threading.Lock()
        self._asked = False
        self._known: Mapping[str, str | Sensitive] | None = None

    def run(self) -> Report:
        """Raises LockTaken before anything is restarted; everything later is in the report."""
        prepared, plan = self._prepared, self._plan
        identity = Identity.here()
        found = prepared.fleet.found
        order = sorted(plan.servers, key=lambda name: found[name].facts.machine_id)
        sessions = {name: prepared.fleet.sessions[name] for name in order}
        self._shells |= lock_all(
            sessions, plan.app, identity, timeout=self._lock_timeout, waits=self._waits, stop=self.stop
        )
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

    def _explain(self, one: Group, error: StepFailed) -> None:
        """A dyno's last words may hold its secrets: they are shown where all of these are known, and so hidden."""
        with self._asking:
            if not self._asked:
                self._asked, self._known = True, self._secrets()
        if self._known is None or not self._covers(one, self._known):
            unit = naming.user_name(self._plan.app, one.subject)
            says = f"Its secrets cannot be read here to hide them, so its journal is not shown: journalctl -u {unit}"
            error = StepFailed(one.server, replace(error.command, health=False), error.status, says)
        super()._explain(one, error)

    def _secrets(self) -> Mapping[str, str | Sensitive] | None:
        """What dynos have by name, variables and credentials; None where that cannot be read."""
        manifest = self._prepared.manifest
        try:
            resolver = resolver_of(manifest)
            found = {**resolve_environment(manifest, resolver), **resolve_credentials(manifest, resolver)}
        except DynoctlError:
            return None
        self._redact = redactor([found])
        return found

    def _covers(self, one: Group, known: Mapping[str, str | Sensitive]) -> bool:
        """Whether what the dyno runs with holds no secret but those that the manifest has now."""
        for key, attributes in self._prepared.fleet.found[one.server].resources.items():
            if not key.endswith(f".{self._plan.app}-{one.subject}"):
                continue
            for value in attributes.values():
                for name, digest in value.items() if isinstance(value, Mapping) else ():
                    now = known.get(name, "")
                    plain = isinstance(now, str) and name in known
                    if isinstance(digest, Fingerprint) and not plain and not digest.fits(now):
                        return False
        return True

    def _commands(self, one: Group) -> list[Command]:
        """Nothing but the restart: no record, as what was applied last is what it was."""
        scope = self._prepared.scope
        return [
            command for change in one.changes for command in self._providers[change.resource.kind].steps(scope, change)
        ]
