"""What the servers remember of one apply: the formation before it, the formation and a line of history after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from infra import history, record, release, undo
from infra.engine import Prepared
from infra.errors import DynoctlError
from infra.events import Report
from infra.lock import Identity
from infra.observe import Observed
from infra.release import Release
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
    message: str = ""
    commit: str = ""
    _release: Release | None = None
    _written: tuple[str, str | None] | None = None
    _gone: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Write the salt and the formation, before anything else: a dyno on a server that dies keeps its number."""
        if self.prepared.destroy or self.broken >= set(self.shells):
            return
        entry = self._formation(settled=False)
        self._written = entry
        self._release = self.prepared.plan.release
        if self._release is not None and self.prepared.plan.fresh:
            self._release = replace(
                self._release,
                who=self.identity.who,
                when=self.identity.when,
                commit=self.commit,
                message=self.message,
            )
        for name, seen in self.found.items():
            self.salts[name] = seen.facts.salt or record.new_salt()

        def write(name: str) -> None:
            salt: list[tuple[str, str | None]] = []
            if not self.found[name].facts.salt:
                salt.append(("salt", self.salts[name]))
            sweep = self.prepared.registry.sweep(self.prepared.plan.app)
            entries = [*salt, entry, *self._releases(name)]
            self.shells[name].run([sweep, record.write(self.prepared.plan.app, entries)])

        self._settle(each(write, self.found))

    def _releases(self, server: str) -> list[tuple[str, str | None]]:
        """Every release that any server knows and this one does not, and the one of this plan."""
        if server in self.prepared.leaving:
            return []
        facts = self.found[server].facts
        known = {one.number: one for one in release.merge(seen.facts.releases for seen in self.found.values())}
        here = {one.number: one for one in facts.releases}
        if self._release is not None:
            known[self._release.number] = self._release
        stay = sorted(known)[-release.REMEMBERED :]
        entries = [record.release(known[number]) for number in stay if here.get(number) != known[number]]
        entries += [(f"releases/{number}.json", None) for number in here if number not in stay]
        if self._release is not None and self._release.number not in facts.bodies:
            entries.append((f"releases/{self._release.number}.body", self.prepared.body))
        return entries

    def commanded(self) -> None:
        """Write down that the release command ran, so that it does not run again for this release."""
        if self._release is not None:
            self._rewrite(replace(self._release, commanded=True))

    def _rewrite(self, one: Release, *more: tuple[str, str | None]) -> None:
        app, self._release = self.prepared.plan.app, one
        there = [name for name in self.shells if name not in self._gone | set(self.prepared.leaving)]
        entries = [record.release(one), *more]
        results = each(lambda name: self.shells[name].run([record.write(app, entries)]), there)
        # Where the release was refused all servers count as broken, and yet all that answer remember it.
        self._settle({name: result for name, result in results.items() if name not in self.broken})

    def _ended(self) -> None:
        """Write down how the release's rollout ended; with it, forget what nobody can go back to any more."""
        plan, report, one = self.prepared.plan, self.report, self._release
        if one is None or self.prepared.destroy:
            return
        last = release.ended(one, history.result(report), fresh=plan.fresh, commanded=one.commanded)
        known = release.merge(seen.facts.releases for seen in self.found.values())
        known = (*(old for old in known if old.number != last.number), last)
        kept = release.kept_bodies(known, plan.slugs, self.prepared.manifest.keep)
        bodies = {number for seen in self.found.values() for number in seen.facts.bodies}
        gone = sorted(bodies - kept) if report.ok else []
        if last != one or gone:
            self._rewrite(last, *((f"releases/{number}.body", None) for number in gone))

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
        self._ended()
        if prepared.destroy or not self.report.ok or self.report.skipped or plan.unreachable:
            return
        entry = self._formation(settled=True)
        if entry != self._written:
            staying = [name for name in self.shells if name not in whole]
            self._settle(each(lambda name: self.shells[name].run([record.write(plan.app, [entry])]), staying))

    def audit(self, seconds: float) -> None:
        """Leave a line on every server that still answers, and still has something of the app."""
        slug = "" if self.prepared.slug is None else self.prepared.slug.digest
        plan = self.prepared.plan
        command = "destroy" if self.prepared.destroy else "apply" if self.prepared.stored is None else "rollback"
        number = 0 if self._release is None else self._release.number
        line = history.entry(
            plan, self.report, self.identity, command=command, seconds=seconds, slug=slug, release=number
        )
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
