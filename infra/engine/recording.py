"""Write the records of an apply: formation and release before it, its result, and a line in the audit log."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from infra.engine.code_digest import this_build
from infra.engine.groups import Group
from infra.engine.ledger import Ledger
from infra.engine.prepared import Prepared
from infra.errors import DynoctlError
from infra.fleet.lock import Identity
from infra.fleet.observe import Observed
from infra.model import release
from infra.model.provider import Provider
from infra.model.release import Release
from infra.model.resource import Command
from infra.model.shell import Shell, StepFailed
from infra.remote.parallel import each
from infra.state import audit_log, backups, records

Entry = tuple[str, str | None]
"""A record file: its name below the app's state directory, and its line (None removes it)."""


@dataclass(kw_only=True)
class Recorder:
    """Writes records through the shells that hold the locks. ``found`` is what was observed under them. With
    ``restart`` nothing is recorded but a line in the audit log, as a restart changes no file."""

    prepared: Prepared
    shells: Mapping[str, Shell]
    found: Mapping[str, Observed]
    identity: Identity
    ledger: Ledger
    message: str = ""
    commit: str = ""
    restart: bool = False
    _salts: dict[str, str] = field(default_factory=dict)
    _release: Release | None = None
    _known: tuple[Release, ...] = ()
    _written: Entry | None = None
    _gone: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Write the salt and the formation, before anything else: a dyno on a server that dies keeps its number."""
        if self.prepared.destroy or not any(self.ledger.usable(name) for name in self.shells):
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
        self._known = release.merge(seen.facts.releases for seen in self.found.values())
        for name, seen in self.found.items():
            self._salts[name] = seen.facts.salt or records.new_salt()

        def write(name: str) -> None:
            salt: list[Entry] = []
            if not self.found[name].facts.salt:
                salt.append(("salt", self._salts[name]))
            orphans = records.orphaned(self.prepared.plan, name, self.found[name])
            entries = [*salt, entry, *orphans, *self._releases(name)]
            commands = [self.prepared.registry.sweep(self.prepared.plan.app)]
            if records.TRIAL in self.found[name].facts.pending:
                # The mark of a trial that was cut off stays for as long as its command still runs.
                said, commands = self.shells[name].run(commands), []
                entries += [] if said.strip() else [records.end(records.TRIAL)]
            self.shells[name].run([*commands, records.write(self.prepared.plan.app, entries)])

        self.ledger.settle(each(write, self.found).items())

    def _releases(self, server: str) -> list[Entry]:
        """Every release that any server knows and this one does not, and the one of this plan."""
        if server in self.prepared.leaving or server in self.prepared.emptied:
            return []
        facts, plan = self.found[server].facts, self.prepared.plan
        here = {one.number: one for one in facts.releases}
        stay = {one.number: one for one in release.remembered(self._all(), plan.slugs)}
        entries = [records.release(one) for number, one in stay.items() if here.get(number) != one]
        for number in here.keys() - stay.keys():
            entries += [(f"releases/{number}.json", None), (f"releases/{number}.commanded", None)]
        # A number that is new may have a body all the same, where the record that told of it was damaged.
        wants = self._release is not None and (plan.fresh or self._release.number not in facts.bodies)
        if self._release is not None and wants and server in plan.formation.homes.values():
            entries.append((f"releases/{self._release.number}.body", self.prepared.body))
        return entries

    def _all(self) -> tuple[Release, ...]:
        """Every release that is known, the one of this apply as it stands now."""
        one = self._release
        return self._known if one is None else (*(old for old in self._known if old.number != one.number), one)

    def before(self, group: Group) -> list[Command]:
        """The commands that record, before the changes of a group, that its dyno is changing."""
        if self.restart or not group.boots:
            return []
        return [records.write(self.prepared.plan.app, [records.begin(str(group.dyno)), *self._moving()])]

    def after(self, group: Group, providers: Mapping[str, Provider]) -> list[Command]:
        """The commands that record the changes of a group after they were made."""
        if self.restart:
            return []
        entries: list[Entry] = []
        for change in group.changes:
            provider = providers[change.resource.kind]
            if provider.first:
                continue  # it is never removed, so it needs no record
            salt = self._salts.get(group.server, "")
            entries.append(
                records.applied(change, {} if change.after is None else provider.recorded(change.after, salt))
            )
        if group.dyno is not None:
            entries.append(records.end(group.dyno))
        return [records.write(self.prepared.plan.app, entries)] if entries else []

    def trial(self, commands: Sequence[Command]) -> list[Command]:
        """The commands of a trial between the mark that it is under way and its removal: if the mark stays, the next
        apply takes away what the trial left."""
        app = self.prepared.plan.app
        return [
            records.write(app, [records.begin(records.TRIAL)]),
            *commands,
            records.write(app, [records.end(records.TRIAL)]),
        ]

    def trial_failed(self, server: str, error: StepFailed) -> None:
        """Remove the mark of a trial that failed and cleaned up; one that its time limit ended did not."""
        if error.timed_out:
            return
        with suppress(DynoctlError):
            self.shells[server].run([records.write(self.prepared.plan.app, [records.end(records.TRIAL)])])

    def _moving(self) -> list[Entry]:
        """The release's record, once: a dyno moves to it."""
        before = self.prepared.plan.release
        if self._release is None or (before is not None and before.moved):
            return []
        self._release = replace(self._release, moved=True)
        return [records.release(self._release)]

    def commanding(self, server: str) -> None:
        """Write down where the release command is about to run, now that no earlier one runs where anybody answers."""
        if self._release is None:
            return
        machines = {name: seen.facts.machine_id for name, seen in self.found.items()}
        heard = [replace(one, on="") for one in self._known if one.on in machines.values()]
        self._known = release.merge([[one for one in self._known if one.on not in machines.values()], heard])
        self._rewrite(
            replace(self._release, on=machines[server]),
            *(records.release(one) for one in heard if one.number != self._release.number),
        )

    def commanded(self, *, well: bool) -> None:
        """Write down that the release command ended: where it did so well, it does not run again for this release."""
        if self._release is not None:
            self._rewrite(replace(self._release, commanded=well, on=""))

    def _rewrite(
        self,
        one: Release,
        *more: Entry,
        drop: Mapping[str, Collection[int]] = MappingProxyType({}),
    ) -> None:
        app, self._release = self.prepared.plan.app, one
        there = [
            name for name in self.shells if name not in self._gone | {*self.prepared.leaving, *self.prepared.emptied}
        ]
        entries = [records.release(one), (f"releases/{one.number}.commanded", None), *more]

        def write(name: str) -> None:
            gone = [(f"releases/{number}.body", None) for number in drop.get(name, ())]
            self.shells[name].run([records.write(app, [*entries, *gone])])

        results = each(write, there)
        # All servers that answer remember a release that was refused; one that cannot changes nothing any more.
        self.ledger.settle((name, result) for name, result in results.items() if self.ledger.usable(name))

    def _ended(self) -> None:
        """Write down how the release's rollout ended; with it, forget what nobody can go back to any more."""
        plan, report, one = self.prepared.plan, self.ledger.report, self._release
        if one is None or self.prepared.destroy:
            return
        before = plan.release is not None and plan.release.moved
        free = self.prepared.stack.release is None
        last = release.ended(one, audit_log.result(report), before=before, free=free)
        known = (*(old for old in self._known if old.number != last.number), last)
        kept = release.kept_bodies(known, plan.slugs, self.prepared.manifest.keep) | {last.number}
        # They hold secrets, which are nobody's where no dyno is.
        carrying = set(plan.formation.homes.values())
        stay = {name: kept if name in carrying else set() for name in self.found}
        drop = {name: seen.facts.bodies - stay[name] for name, seen in self.found.items()} if report.ok else {}
        # That a dyno moved to it was written where it moved; now all are told.
        moved = plan.release is not None and one.moved != plan.release.moved
        if last != one or moved or any(drop.values()):
            self._rewrite(last, drop=drop)

    def end(self) -> None:
        """Where nothing of the app is left, take its records and lock along, and forget that it was there."""
        prepared, plan = self.prepared, self.prepared.plan
        left = {*prepared.leaving, *prepared.emptied}
        gone = set(self.shells) if prepared.destroy else left & set(self.shells)
        report = self.ledger.report
        all_done = report.ok and not report.skipped
        whole = gone - self.ledger.lost - plan.left_on if all_done else set()
        if prepared.destroy and set(prepared.leaving) & set(plan.unreachable):
            whole = set()  # only these records know that something of the app is left on a server that is away

        def forget(name: str) -> None:
            self.shells[name].run([prepared.registry.sweep(plan.app, stop=True), records.forget(plan.app)])
            self.shells[name].forget()

        self.ledger.settle(each(forget, whole).items())
        self._gone = whole
        self._ended()
        if prepared.destroy or not all_done or not report.ok or plan.unreachable or plan.left_out:
            return  # a server that leaves, or is to carry something, is still to be known
        entry = self._formation(settled=True)
        if entry != self._written:
            staying = [name for name in self.shells if name not in whole]
            written = each(lambda name: self.shells[name].run([records.write(plan.app, [entry])]), staying)
            self.ledger.settle(written.items())

    def audit(self, seconds: float) -> None:
        """Append a line on every server that still answers, and still has something of the app."""
        slug = "" if self.prepared.slug is None else self.prepared.slug.digest
        plan = self.prepared.plan
        number = 0 if self._release is None else self._release.number
        line = audit_log.entry(
            plan, self.ledger.report, self.identity, command=self._command(), seconds=seconds, slug=slug, release=number
        )
        commands = [backups.forget(plan.app), audit_log.append(plan.app, line)]
        there = [name for name in self.shells if name not in self._gone]
        each(lambda name: self.shells[name].run(commands), there)  # failures are already in the report

    def _formation(self, *, settled: bool) -> Entry:
        prepared, who = self.prepared, self.identity
        return records.formation(
            prepared.manifest,
            prepared.plan,
            self.found,
            who.who,
            who.when,
            settled=settled,
            # A rollback makes what a release was, and not what the manifest says.
            build=this_build() if settled and prepared.stored is None else None,
            forget=prepared.request.forget,
        )

    def _command(self) -> str:
        if self.restart:
            return "restart"
        return "destroy" if self.prepared.destroy else "apply" if self.prepared.stored is None else "rollback"
