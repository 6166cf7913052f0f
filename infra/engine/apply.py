"""Carry out a plan: lock every server, observe it again, run the phases, record the result, and report."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from infra.engine.context import Context
from infra.engine.explanation import explain_with
from infra.engine.ledger import Ledger
from infra.engine.phases import PHASES
from infra.engine.plan_options import recorded
from infra.engine.planning import planned_again
from infra.engine.prepared import Prepared, StalePlan
from infra.engine.recording import Recorder
from infra.errors import DynoctlError
from infra.fleet.lock import Identity, lock_all
from infra.fleet.observe import Observed
from infra.model.clock import Clock, SystemClock
from infra.model.events import Event, Listener, Report, steady
from infra.model.invocation import BY_PLAN, Invocation
from infra.model.redact import redactor
from infra.model.shell import LockTaken, Shell
from infra.model.text import enumeration
from infra.plan.plan import Plan
from infra.remote.parallel import each

NAMED = 8
"""Servers that an error names."""


def refuse_held(plan: Plan) -> None:
    """Raise DynoctlError if the plan would undo a rollback that nobody decided to undo."""
    if plan.held is not None:
        raise DynoctlError(
            f"{plan.held}: {plan.wanted} and the source are still those of v{plan.held.over}; nothing was applied",
            f"change them; to repair or finish the rollback: dynoctl rollback v{plan.held.of}; to undo it: "
            "dynoctl apply --over-rollback",
        )


@dataclass(frozen=True)
class ApplyOptions:
    """``message`` and ``commit`` are recorded with a new release; ``lock_timeout`` is the number of seconds to wait for
    another apply to end, None that of ``infra.fleet.lock``. ``began`` is when the user began to wait, by the monotonic
    clock; None: when the servers were locked. ``invocation`` is for the audit log."""

    message: str = ""
    commit: str = ""
    lock_timeout: float | None = None
    began: float | None = None
    invocation: Invocation = BY_PLAN


NO_OPTIONS = ApplyOptions()


def lock_servers(
    prepared: Prepared,
    names: Iterable[str],
    identity: Identity,
    *,
    timeout: float | None,
    listener: Listener,
    stop: threading.Event,
    clock: Clock,
    waited: threading.Event | None = None,
) -> dict[str, Shell]:
    """Lock the app on servers, by name, in the order of their machine-ids, which is the same for every apply.
    ``waited`` is set if another apply is waited for. Raises LockTaken or Unreachable; then no lock is held."""

    def waits(taken: LockTaken) -> None:
        if waited is not None:
            waited.set()
        listener(Event("note", taken.server, "lock", f"{taken.what}; waiting for it to end"))

    found, sessions = prepared.fleet.found, prepared.fleet.sessions
    order = sorted(names, key=lambda name: found[name].facts.machine_id)
    listener(Event("phase", text="lock", total=len(order)))
    ordered = {name: sessions[name] for name in order}
    return lock_all(ordered, prepared.plan.app, identity, timeout=timeout, waits=waits, stop=stop, clock=clock)


def look(prepared: Prepared, shells: Mapping[str, Shell]) -> dict[str, Observed]:
    """Observe the servers again, under their locks. Raises DynoctlError if one cannot be observed."""
    found: dict[str, Observed] = {}
    for name, result in each(lambda name: prepared.observer.look(shells[name]), shells).items():
        if isinstance(result, DynoctlError):
            raise result
        found[name] = replace(result, facts=replace(result.facts, holder=""))  # that is this apply
    return found


class Applier:
    """One apply. ``stop`` may be set from outside: the current step is finished, and no other is started."""

    def __init__(
        self,
        prepared: Prepared,
        listener: Listener,
        options: ApplyOptions = NO_OPTIONS,
        clock: Clock | None = None,
    ) -> None:
        self._prepared = prepared
        self._listener = steady(listener)
        self._options = options
        self._clock = clock or SystemClock()
        scope = prepared.scope
        self._redact = redactor([*scope.environments.values(), scope.credentials, scope.tls, scope.artifacts])
        self.stop = threading.Event()
        self._waited = threading.Event()

    def run(self) -> Report:
        """Apply the plan. Raises DynoctlError (a held rollback, LockTaken, StalePlan) before anything is changed; later
        errors are in the report."""
        prepared = self._prepared
        refuse_held(prepared.plan)
        identity = Identity.current(self._clock, prepared.doing)
        shells = lock_servers(
            prepared,
            prepared.fleet.found,
            identity,
            timeout=self._options.lock_timeout,
            listener=self._listener,
            stop=self.stop,
            clock=self._clock,
            waited=self._waited,
        )
        began = self._clock.monotonic() if self._options.began is None else self._options.began
        try:
            found = look(prepared, shells)
            self._refuse_stale(found)
            context = self._context(shells, found, identity)
            for phase in PHASES:
                context = phase(context)
            report = context.ledger.report
            report.interrupted = self.stop.is_set() and bool(report.skipped)
            context.recorder.end()
            report.seconds = round(self._clock.monotonic() - began, 1)
            context.recorder.audit(self._listener)
        finally:
            each(lambda name: shells[name].close(), shells)
        return report

    def _context(self, shells: Mapping[str, Shell], found: Mapping[str, Observed], identity: Identity) -> Context:
        prepared, options = self._prepared, self._options
        recorder = Recorder(
            prepared=prepared,
            shells=shells,
            found=found,
            identity=identity,
            ledger=Ledger(self._listener, self._redact, prepared.plan.max_failures),
            invocation=recorded(options.invocation, prepared),
            message=self._redact(options.message),  # whoever types it may have copied a line of a log
            commit=options.commit,
        )
        return Context.of(
            prepared,
            shells=shells,
            recorder=recorder,
            listener=self._listener,
            explain=explain_with(self._redact),
            stop=self.stop,
            clock=self._clock,
        )

    def _refuse_stale(self, found: Mapping[str, Observed]) -> None:
        """Raise StalePlan if the servers changed in a way that changes the plan, as what other apps do seldom does.
        Otherwise go on with the plan of now, which does the same."""
        before = self._prepared.fleet.found
        removing = {change.resource.server for change in self._prepared.plan.changes if change.action.removes}
        # A one-off dyno that was started meanwhile keeps what it needs.
        busy = {
            name
            for name in removing & found.keys()
            if not {*found[name].facts.one_offs} <= {*before[name].facts.one_offs}
        }
        changed = [name for name in found if found[name].differs(before[name]) or name in busy]
        if not changed:
            return
        plan = None if busy else planned_again(self._prepared, found)
        if plan is None:
            stale = StalePlan(
                f"stale plan: {enumeration(changed, NAMED)} changed after the plan was made; nothing was applied",
                "plan again and review the differences: dynoctl plan",
            )
            stale.waited = self._waited.is_set()
            raise stale
        fleet = replace(self._prepared.fleet, found=dict(found))
        self._prepared = replace(self._prepared, plan=plan, fleet=fleet)
