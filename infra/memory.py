"""What the servers remember of one apply: the formation before it, the formation and a line of history after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from infra import history, record, undo
from infra.engine import Prepared
from infra.errors import DynoctlError
from infra.events import Report
from infra.lock import Identity
from infra.observe import Observed
from infra.remote.locked import LockedShell
from infra.remote.parallel import each


@dataclass
class Memory:
    """Writes through the shells that hold the locks. ``found`` is what was observed under them, ``salts`` gets each
    server's, ``broken`` are servers that are not to be touched; ``fail`` notes that one was lost."""

    prepared: Prepared
    shells: Mapping[str, LockedShell]
    found: Mapping[str, Observed]
    identity: Identity
    broken: set[str]
    report: Report
    fail: Callable[[str, str, DynoctlError], None]
    salts: dict[str, str] = field(default_factory=dict)
    _written: tuple[str, str | None] | None = None
    _gone: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Write the salt and the formation, before anything else: a dyno on a server that dies keeps its number."""
        if self.prepared.destroy or self.broken >= set(self.shells):
            return
        entry = self._formation(settled=False)
        self._written = entry
        for name, seen in self.found.items():
            self.salts[name] = seen.facts.salt or record.new_salt()

        def write(name: str) -> None:
            salt: list[tuple[str, str | None]] = []
            if not self.found[name].facts.salt:
                salt.append(("salt", self.salts[name]))
            sweep = self.prepared.registry.sweep(self.prepared.plan.app)
            self.shells[name].run([sweep, record.write(self.prepared.plan.app, [*salt, entry])])

        self._settle(each(write, self.found))

    def end(self) -> None:
        """Where nothing of the app is left, take its records and lock along, and forget that it was there."""
        prepared, plan = self.prepared, self.prepared.plan
        gone = set(self.shells) if prepared.destroy else set(prepared.leaving) & set(self.shells)
        whole = gone - self.broken if self.report.ok and not self.report.skipped else set()
        if prepared.destroy and set(prepared.leaving) & set(plan.unreachable):
            whole = set()  # only these records know that something of the app is left on a server that is away

        def forget(name: str) -> None:
            self.shells[name].run([prepared.registry.sweep(plan.app), record.forget(plan.app)])
            self.shells[name].forget()

        self._settle(each(forget, whole))
        self._gone = whole
        if prepared.destroy or not self.report.ok or self.report.skipped or plan.unreachable:
            return
        entry = self._formation(settled=True)
        if entry != self._written:
            staying = [name for name in self.shells if name not in whole]
            self._settle(each(lambda name: self.shells[name].run([record.write(plan.app, [entry])]), staying))

    def audit(self, seconds: float) -> None:
        """Leave a line on every server that still answers, and still has something of the app."""
        slug = "" if self.prepared.slug is None else self.prepared.slug.digest
        destroy, plan = self.prepared.destroy, self.prepared.plan
        line = history.entry(plan, self.report, self.identity, destroy=destroy, seconds=seconds, slug=slug)
        commands = [undo.forget(plan.app), history.append(plan.app, line)]
        there = [name for name in self.shells if name not in self._gone]
        each(lambda name: self.shells[name].run(commands), there)  # what cannot be written down is in the report

    def _formation(self, *, settled: bool) -> tuple[str, str | None]:
        prepared, who = self.prepared, self.identity
        return record.formation(
            prepared.manifest,
            prepared.plan,
            self.found,
            who.who,
            who.when,
            settled=settled,
            forget=prepared.forget,
        )

    def _settle(self, results: Mapping[str, object]) -> None:
        for name, result in results.items():
            if isinstance(result, DynoctlError):
                self.fail(name, "record", result)
