"""Write the records of an apply: formation and release before it, its result, and a line in the audit log."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from infra.engine import failure_report, whereabouts
from infra.engine.code_digest import this_build
from infra.engine.groups import Group
from infra.engine.ledger import Ledger
from infra.engine.prepared import Prepared
from infra.errors import DynoctlError
from infra.fleet.facts import newest_meta
from infra.fleet.lock import Identity
from infra.fleet.observe import Observed
from infra.model import merged_releases, paths, release
from infra.model.events import Event, Listener
from infra.model.invocation import Invocation
from infra.model.provider import Provider
from infra.model.release import Release
from infra.model.resource import Command
from infra.model.shell import Shell, StepFailed
from infra.remote.parallel import each
from infra.state import audit_log, backups, records, release_entries
from infra.state.release_entries import Entry


@dataclass(kw_only=True)
class Recorder:
    """Writes records through the shells that hold the locks. ``found`` is what was observed under them. With
    ``restart``, only a line in the audit log is written, as a restart changes no files."""

    prepared: Prepared
    shells: Mapping[str, Shell]
    found: Mapping[str, Observed]
    identity: Identity
    ledger: Ledger
    invocation: Invocation
    message: str = ""
    commit: str = ""
    restart: bool = False
    _salts: dict[str, str] = field(default_factory=dict)
    _release: Release | None = None
    _releases: tuple[Release, ...] = ()
    _written: Entry | None = None
    _emptied: frozenset[str] = frozenset()

    def begin(self) -> None:
        """Write the salt and the formation before any change, so that a dyno on a lost server keeps its number."""
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
        elif self._release is not None and self.message and self._release.result != release.OK:
            self._release = replace(self._release, message=self.message)  # it is continued
        self._releases = merged_releases.merge(observed.facts.releases for observed in self.found.values())
        if self._release is not None and not self.prepared.plan.fresh and self.prepared.request.edited is not None:
            self._release = release.after_edit(self._release, self._releases, *self.prepared.request.edited)
        for name, observed in self.found.items():
            self._salts[name] = observed.facts.salt or records.new_salt()

        told = {name: observed.facts.releases for name, observed in self.found.items()}
        recorded = release.recorded(self._all(), self.prepared.plan.slugs)
        carrying = set(self.prepared.plan.formation.homes.values())
        leaving = self.prepared.left | self.prepared.emptied

        def write(name: str) -> None:
            salt: list[Entry] = []
            if not self.found[name].facts.salt:
                salt.append(("salt", self._salts[name]))
            origin = self.prepared.request.origin
            if origin is not None and name not in self.prepared.leaving:
                salt.append((paths.ORIGIN, origin.as_json()))
            orphans = records.orphaned(self.prepared.plan, name, self.found[name])
            entries = [*salt, entry, *orphans]
            if name not in leaving:
                known = self.prepared.request.known
                entries += release_entries.update(name, told, recorded, self._release, known)
                entries += self._body(name) if name in carrying else []
            commands = [self.prepared.registry.sweep(self.prepared.plan.app)]
            if records.TRIAL in self.found[name].facts.pending:
                # The marker of an interrupted trial is kept while its command is still running.
                output, commands = self.shells[name].run(commands), []
                entries += [] if output.strip() else [records.end(records.TRIAL)]
            self.shells[name].run([*commands, records.write(self.prepared.plan.app, entries)])

        self.ledger.settle(each(write, self.found).items())

    def _body(self, server: str) -> list[Entry]:
        """The body of the release of this plan, if a server that has dynos lacks it."""
        if self._release is None:
            return []
        # It may already have a body for a new number if its record of that release was damaged.
        lacks = self.prepared.plan.fresh or self._release.number not in self.found[server].facts.bodies
        return [(f"releases/{self._release.number}.body", self.prepared.body)] if lacks else []

    def _all(self) -> tuple[Release, ...]:
        """All known releases, with the current state of the one of this apply."""
        current = self._release
        if current is None:
            return self._releases
        return (*(other for other in self._releases if other.number != current.number), current)

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
        for change in [one for made in group.changes for one in (*made.settled, made)]:
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
        """The commands of a trial, between writing and removing its pending marker. If the marker is left, the next
        apply removes what the trial left behind."""
        app = self.prepared.plan.app
        return [
            records.write(app, [records.begin(records.TRIAL)]),
            *commands,
            records.write(app, [records.end(records.TRIAL)]),
        ]

    def trial_failed(self, server: str, error: StepFailed) -> None:
        """Remove the pending marker of a failed trial. It is kept after a timeout, as the trial did not clean up."""
        if error.timed_out:
            return
        with suppress(DynoctlError):
            self.shells[server].run([records.write(self.prepared.plan.app, [records.end(records.TRIAL)])])

    def _moving(self) -> list[Entry]:
        """The record of the release when the first dyno moves to it."""
        before = self.prepared.plan.release
        if self._release is None or (before is not None and before.moved):
            return []
        self._release = replace(self._release, moved=True)
        return [records.release(self._release)]

    def commanding(self, server: str) -> None:
        """Record the server that is about to run the release command. No earlier one is running on a reachable
        server."""
        if self._release is None:
            return
        machines = {name: observed.facts.machine_id for name, observed in self.found.items()}
        over = [replace(other, on="") for other in self._releases if other.on in machines.values()]
        self._releases = merged_releases.merge(
            [[other for other in self._releases if other.on not in machines.values()], over]
        )
        self._rewrite(
            replace(self._release, on=machines[server]),
            *(records.release(other) for other in over if other.number != self._release.number),
        )

    def commanded(self, *, well: bool) -> None:
        """Record that the release command ended. If it succeeded, it does not run again for this release."""
        if self._release is not None:
            self._rewrite(replace(self._release, commanded=well, on=""))

    def _rewrite(
        self,
        updated: Release,
        *entries: Entry,
        drop: Mapping[str, Collection[int]] = MappingProxyType({}),
    ) -> None:
        app, self._release = self.prepared.plan.app, updated
        without = self._emptied | self.prepared.left | self.prepared.emptied
        servers = [name for name in self.shells if name not in without]
        written = [records.release(updated), (f"releases/{updated.number}.commanded", None), *entries]

        def write(name: str) -> None:
            dropped = [(f"releases/{number}.body", None) for number in drop.get(name, ())]
            self.shells[name].run([records.write(app, [*written, *dropped])])

        results = each(write, servers)
        # After a rejection all reachable servers are updated, but a failure on one that is no longer used is ignored.
        self.ledger.settle((name, result) for name, result in results.items() if self.ledger.usable(name))

    def _ended(self) -> None:
        """Record the result of the release, and remove the bodies that can no longer be rolled back to."""
        plan, report, current = self.prepared.plan, self.ledger.report, self._release
        if current is None or self.prepared.destroy:
            return
        before = plan.release is not None and plan.release.moved
        free = self.prepared.stack.release is None
        result = release.OK if report.stands else audit_log.result(report)
        last = release.ended(current, result, before=before, free=free)
        last = replace(last, failure="" if last.result == release.OK else failure_report.remembered(report))
        if report.stands and self._unproven():
            last = current
        releases = (*(entry for entry in self._releases if entry.number != last.number), last)
        kept = release.kept_bodies(releases, plan.slugs, self.prepared.manifest.keep) | {last.number}
        # Bodies contain secrets, so servers without dynos keep none.
        carrying = set(plan.formation.homes.values())
        stay = {name: kept if name in carrying else set() for name in self.found}
        drop = {name: observed.facts.bodies - stay[name] for name, observed in self.found.items()} if report.ok else {}
        if last.result in release.BACK:
            drop = {
                name: frozenset({last.number}) for name in self.found
            }  # nothing runs it, and nobody can roll back to it
        # Only the server of the first dyno has recorded that the release was moved to; now all servers do.
        moved = plan.release is not None and current.moved != plan.release.moved
        if last != current or moved or any(drop.values()):
            self._rewrite(last, drop=drop)

    def _unproven(self) -> bool:
        """Whether only a part of the changes was selected, and no dyno started from the release."""
        started = any(change.effect is not None and change.effect.boots for change in self.ledger.report.done)
        return bool(self.prepared.plan.left_out) and not started

    def end(self) -> None:
        """Remove the records and the lock from servers without anything of the app, and record the result on the
        others."""
        prepared, plan = self.prepared, self.prepared.plan
        to_empty = prepared.left | prepared.emptied
        to_empty = frozenset(self.shells) if prepared.destroy else to_empty & self.shells.keys()
        report = self.ledger.report
        all_done = report.ok and not report.skipped
        held = to_empty & (plan.left_on | plan.busy)
        emptied = to_empty - self.ledger.lost - held if all_done else frozenset()
        if prepared.destroy and set(prepared.leaving) & set(plan.unreachable):
            emptied = frozenset()  # only these records show that an unreachable server still has something of the app

        def forget(name: str) -> None:
            idle = [] if prepared.request.end_runs else [prepared.registry.idle(plan.app)]
            sweep = prepared.registry.sweep(plan.app, stop=True)
            self.shells[name].run([*idle, sweep, records.forget(plan.app)])
            self.shells[name].forget()

        self.ledger.settle(each(forget, emptied).items())
        self._emptied = emptied
        self._ended()
        if prepared.destroy or self._written is None:
            return
        if all_done and report.ok and not plan.left_out:
            # While servers are to be emptied or filled, the formation lists them; the settings are in force on the
            # others.
            entry = self._formation(settled=not plan.unreachable and not held, in_force=True)
            self._conclude(entry, self.shells.keys() - emptied)
        else:
            self._correct()

    def _correct(self) -> None:
        """Record where the dynos are, if not all of the formation came about: what was never started must not come with
        the next rollback, and a server that is lost later must not be waited for."""
        observer, usable = self.prepared.observer, self.shells.keys() - self.ledger.lost - self._emptied
        looked = each(lambda name: observer.look(self.shells[name]), sorted(usable))
        now = {name: observed for name, observed in looked.items() if isinstance(observed, Observed)}
        recorded = newest_meta(observed.facts for observed in self.found.values()).get("dynos", {})
        self.found = {**self.found, **now}
        if now:
            homes = whereabouts.homes(self.prepared.plan, now, recorded)
            self._conclude(self._formation(settled=False, homes=homes), now)

    def _conclude(self, entry: Entry, servers: Iterable[str]) -> None:
        """Record the formation after the apply."""
        if entry != self._written:
            command = records.write(self.prepared.plan.app, [entry])
            self.ledger.settle(each(lambda name: self.shells[name].run([command]), sorted(servers)).items())

    def audit(self, listener: Listener) -> None:
        """Append a line on every reachable server that still has records of the app, and tell where that failed."""
        slug = "" if self.prepared.slug is None else self.prepared.slug.digest
        plan = self.prepared.plan
        number = 0 if self._release is None else self._release.number
        line = audit_log.entry(
            plan, self.ledger.report, self.identity, self.invocation, slug=slug, release=number, message=self.message
        )
        commands = [backups.forget(plan.app), audit_log.append(plan.app, line)]
        servers = [name for name in self.shells if name not in self._emptied]
        for name, error in each(lambda name: self.shells[name].run(commands), servers).items():
            if isinstance(error, StepFailed) and name not in self.ledger.lost:  # the report has no failure of it
                why = error.output.strip().partition("\n")[0] or error.summary
                listener(Event("note", name, "record", f"not in the history of this server: {why}"))

    def _formation(self, *, settled: bool, in_force: bool = False, homes: Mapping[str, str] | None = None) -> Entry:
        prepared, identity = self.prepared, self.identity
        return records.formation(
            prepared.manifest,
            prepared.plan,
            whereabouts.without_removed(self.found, self.ledger.report.done),
            identity.who,
            identity.when,
            settled=settled,
            in_force=in_force,
            # A rollback applies a release, not the manifest.
            build=this_build() if settled and prepared.stored is None else None,
            forget=prepared.forgotten,
            known=prepared.request.known,
            homes=homes,
            hint=prepared.request.hint.get(prepared.manifest.app.name, {}),
            trust=prepared.request.trust,
        )
