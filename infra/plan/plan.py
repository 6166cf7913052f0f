"""A plan: the changes on every server, the placement of the dynos, the drift, and the errors that prevent an apply."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property

from infra.errors import Diagnostic, DynoctlError
from infra.model import naming
from infra.model.formation import Formation
from infra.model.lock_holder import Holder
from infra.model.release import Hold, Release
from infra.model.resource import Change, Effect, count
from infra.model.source_change import SourceChange
from infra.plan.overview import ServerOverview


@dataclass(frozen=True)
class Check:
    """The result of one of the manifest's checks: its key in the manifest, and why it passed or failed."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Plan:
    """Everything a reviewer needs. ``changes`` are in the order of the apply; ``batches`` are the dynos that restart
    together; ``leaving`` are servers that run the app and are not in the manifest."""

    app: str
    changes: tuple[Change, ...]
    formation: Formation
    batches: tuple[tuple[str, ...], ...]
    unreachable: Mapping[str, DynoctlError]
    leaving: tuple[str, ...]
    errors: tuple[Diagnostic, ...]
    notes: tuple[str, ...]
    fingerprint: Callable[[], str]
    """Computes a digest of everything that was observed, which few views show."""
    candidates: tuple[str, ...] = ()
    """The servers on which a candidate of the release must become healthy before any dyno is changed."""
    release_on: str | None = None
    """The server on which the release command runs first, if there is one and a new release."""
    release: Release | None = None
    """The release that runs after this plan; None if it is unknown, as no release was recorded."""
    fresh: bool = False
    """Whether ``release`` is created by this plan."""
    running: Release | None = None
    """The release that runs before this plan, if it is known."""
    source: SourceChange | None = None
    """What changed in the source since ``running``, if there is a new release and git can tell."""
    commit: str = ""
    """The commit of the source that a new release is made from, as ``Release.commit`` will be; "" if unknown."""
    fleet: Mapping[str, ServerOverview] = field(default_factory=dict)
    """All servers by name, in the order of the manifest; {} if they are not to be shown."""
    wanted: str = "dyno.yaml"
    """What the plan applies, as text: the name of the manifest, or the release to roll back to; "" for a destroy."""
    slugs: tuple[str, ...] = ()
    """The digests of all slugs that are kept, so that a rollback is possible."""
    build: tuple[str, ...] = ()
    """The commands that build the slug before anything else is done; () if no server needs it."""
    builder: str | None = None
    """The server on which they run; None is the local machine."""
    delivery: str = ""
    """How the slug gets to the servers, in words; "" if it is sent over SSH to each that needs it."""
    checks: tuple[Check, ...] = ()
    """The results of the manifest's checks. A failed check is also in ``errors``."""
    exposure: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    """By process type whose unit changes: its exposure before and after, 0 to 10; {} if it was not requested."""
    left_out: int = 0
    """The number of changes that were not selected."""
    left_on: frozenset[str] = frozenset()
    """The servers of the changes that were not selected, or whose removal is held back."""
    busy: frozenset[str] = frozenset()
    """The servers on which one-off dynos are under way."""
    idle: frozenset[str] = frozenset()
    """Desired dynos that do not run, and still do not after this plan, as they were not selected."""
    canary: bool = False
    """Whether the first batch are canaries, which restart before new dynos start."""
    waves: tuple[tuple[str, int], ...] = ()
    """The values of the label ``rollout.by``, in order, each with its number of batches; () without it."""
    max_failures: int = 0
    """How many dynos may fail before the release is reverted."""
    evacuated: tuple[str, ...] = ()
    """The unreachable servers whose dynos are started on other servers."""
    held: Hold | None = None
    """The rollback that this plan would undo. It is not applied then, unless somebody decides so."""
    applying: tuple[Holder, ...] = ()
    """Who applies something while this was planned. What is half done then is neither drift nor the trace of an
    interrupted apply."""

    options: tuple[str, ...] = ()
    """The options of the user that make it do more or less than the manifest says, as words of a command line."""

    @property
    def missed(self) -> tuple[str, ...]:
        """The unreachable servers that are not evacuated."""
        return tuple(name for name in self.unreachable if name not in self.evacuated)

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers on which something changes."""
        return tuple(dict.fromkeys(change.resource.server for change in self.changes))

    @cached_property
    def by_server(self) -> Mapping[str, Sequence[Change]]:
        """The changes of each server on which something changes."""
        found: dict[str, list[Change]] = {}
        for change in self.changes:
            found.setdefault(change.resource.server, []).append(change)
        return found

    def counts(self) -> dict[str, int]:
        """How many resources are added, changed and destroyed, and how many dynos start, restart and stop."""
        effects = list(self.effects().values())
        return asdict(count(self.changes)) | {str(effect): effects.count(effect) for effect in Effect}

    def up(self) -> Counter[str]:
        """By process type, how many dynos are up once new ones have started. Dynos to be removed count, as they are
        removed after the last batch; dynos on unreachable servers do not."""
        return Counter(
            naming.parse_dyno(dyno)[0]
            for dyno, home in {**self.formation.before, **self.formation.homes}.items()
            if dyno not in self.idle and home not in self.unreachable
        )

    def capacity(self) -> tuple[Mapping[str, tuple[int, int]], ...]:
        """For each batch, by process type: how many dynos stay up while it restarts, and how many exist."""
        formation = self.formation
        total = Counter(naming.parse_dyno(dyno)[0] for dyno in {**formation.before, **formation.homes})
        up = started = self.up()
        starting = Counter(
            naming.parse_dyno(dyno)[0]
            for (server, dyno), effect in self.effects().items()
            if effect is Effect.START and formation.before.get(dyno, server) == server
        )
        found = []
        for number, batch in enumerate(self.batches):
            if self.canary:
                up = started - starting if number == 0 else started
            moving = Counter(naming.parse_dyno(dyno)[0] for dyno in batch)
            found.append({type_: (up[type_] - count, total[type_]) for type_, count in sorted(moving.items())})
        return tuple(found)

    def does_the_same(self, other: Plan) -> bool:
        """Whether an apply of either plan does the same. Notes and checks only explain."""
        return self._essence() == other._essence()

    def _essence(self) -> tuple[object, ...]:
        release = None if self.release is None else (self.release.number, self.release.of)
        apart = {
            "release",
            "running",
            "source",
            "commit",
            "fleet",
            "delivery",
            "formation",
            "unreachable",
            "notes",
            "fingerprint",
            "checks",
            "exposure",
            "applying",
            "options",
        }
        values = [getattr(self, field.name) for field in fields(self) if field.name not in apart]
        return (release, replace(self.formation, notes=()), sorted(self.unreachable), *values)

    def effects(self) -> dict[tuple[str, str], Effect]:
        """The effect on each changed dyno, by server and dyno."""
        return effects(self.changes)


def effects(changes: Sequence[Change]) -> dict[tuple[str, str], Effect]:
    """The effect of changes on each dyno, by server and dyno."""
    found: dict[tuple[str, str], Effect] = {}
    for change in changes:
        if change.effect is not None and change.resource.dyno is not None:
            found[(change.resource.server, change.resource.dyno)] = change.effect
    return found
