"""A plan: what would change on every server, where each dyno goes, what drifted, and what stands in the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from infra.errors import Diagnostic, DynoctlError
from infra.model import naming
from infra.model.formation import Formation
from infra.model.release import Release
from infra.model.resource import Change, Effect, count


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
