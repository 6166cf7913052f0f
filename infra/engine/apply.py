"""Carry out a plan: lock every server, observe it again, run the phases, record the result, and report."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from infra.engine.context import Context
from infra.engine.explanation import explain_with
from infra.engine.ledger import Ledger
from infra.engine.phases import PHASES
from infra.engine.prepared import Prepared
from infra.engine.recording import Recorder
from infra.errors import DynoctlError
from infra.fleet.lock import Identity, lock_all
from infra.fleet.observe import Observed
from infra.model.clock import Clock, SystemClock
from infra.model.events import Event, Listener, Report, steady
from infra.model.redact import redactor
from infra.model.shell import LockTaken, Shell
from infra.remote.parallel import each


class StalePlan(DynoctlError):
    """A server changed after the plan was made."""


@dataclass(frozen=True)
class ApplyOptions:
    """``message`` and ``commit`` are recorded with a new release; ``lock_timeout`` is the number of seconds to wait for
    another apply to end."""

    message: str = ""
    commit: str = ""
    lock_timeout: float = 0


NO_OPTIONS = ApplyOptions()


def lock_servers(
    prepared: Prepared,
    names: Iterable[str],
    identity: Identity,
    *,
    timeout: float,
    listener: Listener,
    stop: threading.Event,
    clock: Clock,
) -> dict[str, Shell]:
    """Lock the app on servers, by name, in the order of their machine-ids, which is the same for every apply. Raises
    LockTaken or Unreachable; then no lock is held."""

    def waits(taken: LockTaken) -> None:
        text = f"another apply is running: {taken.holder}; waiting for it to end"
        listener(Event("note", taken.server, "lock", text))

    found, sessions = prepared.fleet.found, prepared.fleet.sessions
    order = sorted(names, key=lambda name: found[name].facts.machine_id)
    ordered = {name: sessions[name] for name in order}
    return lock_all(ordered, prepared.plan.app, identity, timeout=timeout, waits=waits, stop=stop, clock=clock)


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
        self._redact = redactor([*scope.environments.values(), scope.credentials, scope.tls])
        self.stop = threading.Event()

    def run(self) -> Report:
        """Apply the plan. Raises LockTaken or StalePlan before anything is changed; later errors are in the report."""
        prepared = self._prepared
        identity = Identity.current(self._clock)
        shells = lock_servers(
            prepared,
            prepared.fleet.found,
            identity,
            timeout=self._options.lock_timeout,
            listener=self._listener,
            stop=self.stop,
            clock=self._clock,
        )
        began = self._clock.monotonic()
        try:
            found = self._look(shells)
            self._refuse_stale(found)
            context = self._context(shells, found, identity)
            for phase in PHASES:
                context = phase(context)
            report = context.ledger.report
            report.interrupted = self.stop.is_set() and bool(report.skipped)
            context.recorder.end()
            context.recorder.audit(self._clock.monotonic() - began)
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
            message=options.message,
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

    def _look(self, shells: Mapping[str, Shell]) -> dict[str, Observed]:
        found: dict[str, Observed] = {}
        for name, result in each(lambda name: self._prepared.observer.look(shells[name]), shells).items():
            if isinstance(result, DynoctlError):
                raise result
            found[name] = result
        return found

    def _refuse_stale(self, found: Mapping[str, Observed]) -> None:
        before = self._prepared.fleet.found
        removing = {change.resource.server for change in self._prepared.plan.changes if change.action.removes}
        changed = [
            name
            for name in found
            if found[name].fingerprint() != before[name].fingerprint()
            # A one-off dyno that was started meanwhile keeps what it needs.
            or (name in removing and not {*found[name].facts.one_offs} <= {*before[name].facts.one_offs})
        ]
        if changed:
            raise StalePlan(
                f"stale plan: {', '.join(changed)} changed after the plan was made; nothing was applied",
                "plan again and review the differences: dynoctl plan",
            )
