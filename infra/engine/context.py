"""The context of one apply: what its phases read, and the ledger that they write to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event as Flag

from infra.artifacts.source import Store
from infra.engine.groups import Group, group
from infra.engine.ledger import Ledger
from infra.engine.prepared import Prepared
from infra.engine.recording import Recorder
from infra.engine.silent_store import SilentStore
from infra.model.clock import Clock
from infra.model.events import Listener
from infra.model.provider import Provider, Scope
from infra.model.release import OK
from infra.model.resource import Change, Upload
from infra.model.shell import Shell, StepFailed


@dataclass(frozen=True)
class Move:
    """A resource that must never be on two servers, with its dyno: what leaves one server and starts on another."""

    leaving: Group
    taking: Group


@dataclass(frozen=True, kw_only=True)
class Context:
    """The parameter of every phase. A phase that has a result for later ones returns a changed copy.

    ``shells`` hold the app's lock on every server that the apply may change; ``stop`` may be set from outside: the
    current step is finished, and no other is started. ``explain`` returns the redacted summary and detail of a failure.
    ``image`` is the slug's file once it is built; ``begun`` are the groups of dynos that were changed, in order, so
    that they can go back; ``removed`` are groups that were removed early, as they must not be on two servers; ``moves``
    are those that move to another one."""

    prepared: Prepared
    scope: Scope
    shells: Mapping[str, Shell]
    ledger: Ledger
    recorder: Recorder
    listener: Listener
    explain: Callable[[Context, Group, StepFailed], tuple[str, str]]
    stop: Flag
    clock: Clock
    groups: tuple[Group, ...]
    providers: Mapping[str, Provider]
    image: Upload | None = None
    store: Store | None = None
    """The store that has the slug; None if it is sent over SSH."""
    silence: SilentStore = field(default_factory=SilentStore)
    """What servers found of the store."""
    relayed: frozenset[str] = frozenset()
    """The servers that got the slug from another one, or for others."""
    unrelayed: Mapping[str, str] = field(default_factory=dict)
    """Why servers did not get it from another one, if that was tried."""
    begun: tuple[Group, ...] = ()
    removed: tuple[Group, ...] = ()
    moves: tuple[Move, ...] = ()

    @classmethod
    def of(
        cls,
        prepared: Prepared,
        *,
        shells: Mapping[str, Shell],
        recorder: Recorder,
        listener: Listener,
        explain: Callable[[Context, Group, StepFailed], tuple[str, str]],
        stop: Flag,
        clock: Clock,
    ) -> Context:
        """The context at the begin of the first phase. It has the ledger of ``recorder``."""
        return cls(
            prepared=prepared,
            scope=prepared.scope,
            shells=shells,
            ledger=recorder.ledger,
            recorder=recorder,
            listener=listener,
            explain=explain,
            stop=stop,
            clock=clock,
            groups=tuple(group(prepared.plan)),
            providers={provider.kind: provider for provider in prepared.registry.providers},
        )

    @property
    def app(self) -> str:
        return self.prepared.plan.app

    @property
    def shut(self) -> bool:
        """Whether no further step is started on any server."""
        return self.stop.is_set() or not any(self.ledger.usable(server) for server in self.shells)

    @property
    def on_trial(self) -> bool:
        """Whether the apply brings what has not shown yet that it works: a release that did not succeed, or restarts.
        If it only adds or repairs dynos of a release that works, one that fails says nothing about the others."""
        released = self.prepared.plan.release
        return (released is not None and released.result != OK) or any(group.restarts for group in self.groups)

    def may_have(self, server: str, dyno: str) -> bool:
        """Whether a server had a dyno when this apply began. If it is unreachable, nobody knows. The records of others
        do not tell: it may have been lost since."""
        seen = self.recorder.found.get(server)
        return seen is None or dyno in seen.facts.dynos(self.app)

    def provider(self, change: Change) -> Provider:
        return self.providers[change.resource.kind]

    def first(self, group: Group) -> bool:
        """Whether its resources are created before the slug is built."""
        return self.provider(group.changes[0]).first

    def last(self, group: Group) -> bool:
        """Whether its resources route to dynos, and so are changed once the dynos are up."""
        return self.provider(group.changes[0]).last

    def alone(self, group: Group) -> bool:
        """Whether it must never be on two servers. The group may be only of files that such a resource reads."""
        if any(self.provider(change).alone for change in group.changes):
            return True
        name = group.changes[0].resource.name
        resources = self.recorder.found[group.server].resources
        keys = [f"{kind}.{name}" for kind, provider in self.providers.items() if provider.alone]
        return group.dyno is not None and any(key in resources and resources[key].managed for key in keys)
