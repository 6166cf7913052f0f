"""A plan: what would change on every server, where each dyno goes, what drifted, and what stands in the way."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from infra.errors import Diagnostic, DynoctlError
from infra.fleet.observe import Observed
from infra.manifest.model import Rollout
from infra.model import naming
from infra.model.provider import Provider
from infra.model.release import Release
from infra.model.resource import Action, Change, Effect, Resource, count
from infra.plan.diff import diff
from infra.plan.formation import Formation
from infra.plan.selection import EVERYTHING, Selection


@dataclass(frozen=True)
class Check:
    """How one of the manifest's checks came out: its key there, and why it passed or did not."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Plan:
    """Everything a reviewer needs. ``changes`` are in the order in which apply makes them; ``batches`` lists the
    dynos that restart, a batch at a time; ``leaving`` are servers that run the app and are not in the manifest."""

    app: str
    changes: tuple[Change, ...]
    formation: Formation
    batches: tuple[tuple[str, ...], ...]
    unreachable: Mapping[str, DynoctlError]
    leaving: tuple[str, ...]
    errors: tuple[Diagnostic, ...]
    notes: tuple[str, ...]
    fingerprint: str
    candidates: tuple[str, ...] = ()
    """The servers on which a candidate of the release must answer before any dyno moves."""
    release_on: str | None = None
    """The server on which the release command runs first, if there is one and a new release."""
    release: Release | None = None
    """What the servers run after this plan; None where that is not known, as nothing of it was recorded."""
    fresh: bool = False
    """Whether that is a new release, made by this plan."""
    wanted: str = "dyno.yaml"
    """Where what is wanted is written: the manifest, or the release to go back to."""
    slugs: tuple[str, ...] = ()
    """The digests of all slugs that stay, to go back to."""
    build: tuple[str, ...] = ()
    """The commands that build the slug before anything else happens; () where no server needs one."""
    builder: str | None = None
    """The server on which they run; None is here."""
    checks: tuple[Check, ...] = ()
    """How the manifest's checks came out. One that did not pass is an error as well."""
    exposure: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    """By process type whose unit changes: how exposed it is before and after, 0 to 10; {} where nobody asked."""
    left_out: int = 0
    """How many changes are due as well, and were not selected."""
    left_on: frozenset[str] = frozenset()
    """The servers on which they are."""
    idle: frozenset[str] = frozenset()
    """Dynos that are wanted and do not run, and will not after this plan either: nobody selected them."""
    evacuated: tuple[str, ...] = ()
    """The servers that did not answer and are given up: their dynos move, and nobody waits for them."""

    @property
    def missed(self) -> tuple[str, ...]:
        """The servers that did not answer and should have."""
        return tuple(name for name in self.unreachable if name not in self.evacuated)

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers on which something changes."""
        return tuple(dict.fromkeys(change.resource.server for change in self.changes))

    def counts(self) -> dict[str, int]:
        """How many resources are added, changed and destroyed, and how many dynos start, restart and stop."""
        effects = list(self.effects().values())
        return asdict(count(self.changes)) | {str(effect): effects.count(effect) for effect in Effect}

    def up(self) -> Counter[str]:
        """By type of dyno, how many are up before the first batch moves: those that leave go after the last one. Those
        that nobody can ask are not."""
        return Counter(
            naming.parse_dyno(dyno)[0]
            for dyno, home in {**self.formation.before, **self.formation.homes}.items()
            if dyno not in self.idle and home not in self.unreachable
        )

    def capacity(self) -> tuple[Mapping[str, tuple[int, int]], ...]:
        """For each batch, by type of dyno: how many stay up while it moves, and how many there are then."""
        formation = self.formation
        whole = Counter(naming.parse_dyno(dyno)[0] for dyno in {**formation.before, **formation.homes})
        up = self.up()
        found = []
        for batch in self.batches:
            moving = Counter(naming.parse_dyno(dyno)[0] for dyno in batch)
            found.append({type_: (up[type_] - count, whole[type_]) for type_, count in sorted(moving.items())})
        return tuple(found)

    def effects(self) -> dict[tuple[str, str], Effect]:
        """What happens to each dyno that is touched, by server and dyno."""
        return effects(self.changes)


def effects(changes: Sequence[Change]) -> dict[tuple[str, str], Effect]:
    """What a set of changes does to each dyno, by server and dyno."""
    found: dict[tuple[str, str], Effect] = {}
    for change in changes:
        if change.effect is not None and change.resource.dyno is not None:
            found[(change.resource.server, change.resource.dyno)] = change.effect
    return found


def build(
    app: str,
    desired: Sequence[Resource],
    found: Mapping[str, Observed],
    formation: Formation,
    providers: Sequence[Provider],
    unreachable: Mapping[str, DynoctlError],
    leaving: Sequence[str] = (),
    errors: Sequence[Diagnostic] = (),
    notes: Sequence[str] = (),
    rollout: Rollout | None = None,
    stays: Mapping[str, Container[str]] | None = None,
    build_with: tuple[str, ...] = (),
    builder: str | None = None,
    selection: Selection = EVERYTHING,
) -> Plan:
    """Diff every server that answered and put the changes in order. ``stays`` are, by server, the keys of resources
    that are left there though nothing wants them now. Only the changes of ``selection`` are in the plan."""
    by_kind = {provider.kind: provider for provider in providers}
    rank = {provider.kind: number for number, provider in enumerate(providers)}
    wanted: dict[str, list[Resource]] = {server: [] for server in found}
    for resource in desired:
        wanted[resource.server].append(resource)
    changes: list[Change] = []
    problems = list(errors)
    for server, observed in found.items():
        more, stands = diff(
            server, wanted[server], observed, by_kind, (stays or {}).get(server, ()), selection.restarts
        )
        changes += more
        problems += stands
    order = {server: number for number, server in enumerate(found)}
    changes.sort(key=lambda change: _order(change, order, rank))
    changes = [_moved(change, formation) for change in changes]
    due = changes
    proving = candidates(due, wanted)
    changes = selection.choose(due)
    left = [change for change in due if change not in changes]
    moving = {server for (server, dyno), effect in effects(changes).items() if effect.boots and _web(dyno)}
    restarts = [dyno for (_, dyno), effect in effects(changes).items() if effect is Effect.RESTART]
    return Plan(
        app=app,
        changes=tuple(changes),
        formation=formation,
        batches=batches(sorted(restarts, key=naming.dyno_order), rollout or Rollout()),
        unreachable=dict(unreachable),
        leaving=tuple(leaving),
        errors=tuple(problems),
        notes=tuple(notes),
        fingerprint=fingerprint(found),
        candidates=tuple(server for server in proving if server in moving),
        build=build_with if any(one.action is Action.CREATE and one.resource.local for one in changes) else (),
        builder=builder,
        left_out=len(left),
        left_on=frozenset(change.resource.server for change in left),
        idle=frozenset(dyno for (_, dyno), effect in effects(left).items() if effect is Effect.START),
    )


def _moved(change: Change, formation: Formation) -> Change:
    """What goes because its dyno comes up on another server says so."""
    home = formation.homes.get(change.resource.dyno or "", change.resource.server)
    gone = change.action.removes and home != change.resource.server
    return replace(change, reason=f"{change.resource.dyno} is on {home} then") if gone else change


def batches(dynos: Sequence[str], rollout: Rollout) -> tuple[tuple[str, ...], ...]:
    """Which dynos move together, in order: the canaries, then ``max_parallel`` at a time. A share is of all that move,
    rounded down, and at least one."""
    most = rollout.max_parallel
    size = max(1, len(dynos) * int(most.removesuffix("%")) // 100) if isinstance(most, str) else most
    first = min(rollout.canary, len(dynos))
    rest = [tuple(dynos[start : start + size]) for start in range(first, len(dynos), size)]
    return (tuple(dynos[:first]), *rest) if first else tuple(rest)


def candidates(changes: Sequence[Change], wanted: Mapping[str, Sequence[Resource]]) -> tuple[str, ...]:
    """Where a candidate is due: wherever a web dyno comes up or restarts, unless one that stays as it is proves that
    its release answers."""
    touched = effects(changes)
    moving = {server for (server, dyno), effect in touched.items() if effect.boots and _web(dyno)}
    proven = any(
        (server, one.dyno) not in touched
        for server, resources in wanted.items()
        for one in resources
        if one.dyno is not None and _web(one.dyno)
    )
    return () if proven else tuple(server for server in wanted if server in moving)


def _web(dyno: str) -> bool:
    return naming.parse_dyno(dyno)[0] == "web"


def fingerprint(found: Mapping[str, Observed]) -> str:
    """A digest of all that was observed; a plan is stale where this has changed."""
    text = "\n".join(f"{server} {found[server].fingerprint()}" for server in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()


def _order(change: Change, servers: Mapping[str, int], rank: Mapping[str, int]) -> tuple[object, ...]:
    """Servers as in the manifest; on each, what dynos stand on, then the dynos, then what goes, in reverse."""
    resource = change.resource
    dyno = ("", 0) if resource.dyno is None else naming.dyno_order(resource.dyno)
    place = rank[resource.kind]
    if change.action.removes:
        return (
            servers[resource.server],
            1,
            (0 if resource.dyno else 1),
            (dyno[0], -dyno[1]),
            -place,
            resource.name,
        )
    after = 2 if resource.follows else 1 if resource.dyno else 0
    return (servers[resource.server], 0, after, dyno, place, resource.name)
