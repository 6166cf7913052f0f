"""What a simulated user may do: the manifest that they edit, and their operations as values that can be replayed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from infra.manifest.model import Manifest, Rollout, Server, Volume
from tests.simulation import harness, moments
from tests.simulation.faults import Fault

HOSTS = ("s1", "s2", "s3")
GOOD = ("a", "b", "c")
BAD = "bad"
"""A slug that answers nowhere."""
PARTLY = "partly"
"""A slug that does not answer on the second server."""
LATE = "late"
"""A slug whose dynos answer first, and soon do not any more."""
UNMIGRATED = "unmigrated"
"""A slug whose release command fails."""
CRASHING = "crashing"
"""A slug whose candidates answer, and whose dynos do not."""
UNLUCKY = "unlucky"
"""A slug whose dynos do not answer on the second server."""
SLUGS = (*GOOD, BAD, PARTLY, LATE, UNMIGRATED, CRASHING, UNLUCKY)
BROKEN = "broken"
"""A value of a variable with which no dyno answers."""


SHARING = ("worker", "nightly")
"""The process types that may share a volume."""


@dataclass(frozen=True)
class Wanted:
    """A manifest in a few words. ``addresses`` are those of the servers, by name, where they differ from it."""

    servers: tuple[str, ...] = ("s1", "s2")
    drains: tuple[str, ...] = ()
    web: int = 2
    worker: int = 0
    slug: str = "a"
    mode: str = ""
    router: tuple[str, ...] = ()
    schedule: bool = False
    volume: bool = False
    """Whether the workers and the schedule share a volume."""
    when: str = moments.DAILY
    command: bool = False
    parallel: int = 1
    canary: int = 0
    revert: bool = True
    patience: int = 0
    failures: int = 0
    keep: int = 3
    addresses: tuple[tuple[str, str], ...] = ()
    mistyped: frozenset[str] = frozenset()
    """The names of the servers for which the manifest has an address at which nobody is."""
    detours: tuple[tuple[str, str], ...] = ()
    """By right address, another one that leads to the same server and is in the manifest."""

    def manifest(self) -> Manifest:
        where = dict(self.addresses)
        servers = [self._server(name, where.get(name, name)) for name in self.servers]
        return harness.manifest(
            *servers,
            web=self.web,
            worker=self.worker,
            slug=self.slug,
            env={"MODE": self.mode} if self.mode else {},
            router=[one for one in self.router if one in self.servers],
            schedule=self.schedule,
            when=self.when,
            rollout=Rollout(
                self.parallel, self.canary, self.patience, auto_revert=self.revert, max_failures=self.failures
            ),
            keep=self.keep,
            volumes=(Volume("files", "files", SHARING),) if self.volume else (),
            release_command="migrate" if self.command else None,
        )

    def _server(self, name: str, address: str) -> Server:
        written = f"{address}0" if name in self.mistyped else dict(self.detours).get(address, address)
        host, _, port = written.partition(":")
        return Server(name, host, port=int(port) if port else None, drain=name in self.drains)

    def mended(self) -> Wanted:
        """The same with right addresses, a release that works and room for all of it."""
        slug = self.slug if self.slug in GOOD else "a"
        mode = "" if self.mode == BROKEN else self.mode
        drains = () if set(self.drains) >= set(self.servers) else self.drains
        return replace(self, slug=slug, mode=mode, drains=drains, mistyped=frozenset())


@dataclass(frozen=True)
class Edit:
    """The manifest changes in one place."""

    key: str
    value: object

    def __post_init__(self) -> None:
        if self.key not in {field.name for field in fields(Wanted)}:
            raise ValueError(self.key)


@dataclass(frozen=True)
class Happen:
    """Something happens to a server."""

    what: str
    host: str


@dataclass(frozen=True)
class Run:
    """A command of dynoctl. ``faults`` are by the number of its exchanges; ``stop`` is after how many events Ctrl-C is
    pressed (0: never); ``names`` are servers, dynos or types, as the command takes them."""

    command: str
    faults: tuple[tuple[int, Fault], ...] = ()
    names: tuple[str, ...] = ()
    stop: int = 0
    between: Happen | None = None
    """What happens after the plan was made and before it is applied."""


@dataclass(frozen=True)
class Pass:
    """Time passes."""

    seconds: int


Operation = Edit | Run | Happen | Pass
