"""The values of the engine: resources, commands and changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from infra.sensitive import Sensitive, Unread, reveal


class Action(StrEnum):
    """What a change does to its resource. The values are those in the JSON of a plan."""

    CREATE = "create"
    UPDATE = "update"
    RESTART = "restart"
    DELETE = "delete"

    @property
    def removes(self) -> bool:
        """Whether the resource is absent afterwards."""
        return self is Action.DELETE

    @property
    def writes(self) -> bool:
        """Whether the attributes of the resource change."""
        return self in (Action.CREATE, Action.UPDATE)


class Effect(StrEnum):
    """What a change does to the dyno of its resource."""

    START = "start"
    RESTART = "restart"
    STOP = "stop"

    @property
    def boots(self) -> bool:
        """Whether the dyno boots, and so must become healthy."""
        return self is not Effect.STOP


@dataclass(frozen=True)
class Fingerprint:
    """A value on a server, known only as ``sha256(salt + encoded value)``; the value itself is never transferred.

    ``encode`` encodes a desired value as the server does, so that both can be compared. ``known`` is the value if it is
    no secret and was recorded; ``secret``: it is one, or was. Both are only for views.
    """

    salt: str
    digest: str
    encode: Callable[[str], str] = field(compare=False, repr=False)
    known: str | None = field(default=None, compare=False, repr=False)
    secret: bool = field(default=False, compare=False, repr=False)

    def fits(self, value: str | Sensitive) -> bool:
        """Whether ``value`` is the value on the server. What was not read is taken for it."""
        if isinstance(value, Unread):
            return True
        return fingerprint(self.salt, self.encode(reveal(value))) == self.digest


def fingerprint(salt: str, text: str) -> str:
    """The sha256 of salt and text in hex, as ``printf %s`` piped to ``sha256sum`` prints it on a server."""
    return hashlib.sha256((salt + text).encode()).hexdigest()


PLAIN = "plain"
"""The key of a record with what is recorded as digests although it is no secret: values by name, quoted as in a URL."""

Scalar = str | int | bool | None | Sensitive | Fingerprint
Attribute = Scalar | tuple[str, ...] | Mapping[str, Scalar]
Attributes = Mapping[str, Attribute]


NOT_WANTED = "not in dyno.yaml"


@dataclass(frozen=True)
class Found:
    """A resource as observed on a server.

    ``foreign``: it exists and was not created by dynoctl. ``blocked`` is why no resource of this name can be created
    ("" if it can). ``kept``: it is not removed although it is no longer desired. ``damaged``: it is not whole, so it is
    created anew if it is desired, and removed otherwise. ``implicit``: it is there without having been created, so what
    differs was changed by hand. ``reason`` is why it is removed if it is not desired; ``stays`` is why it is not, for a
    note if nothing of the app remains on the server."""

    attributes: Attributes
    foreign: bool = False
    blocked: str = ""
    kept: bool = False
    damaged: bool = False
    implicit: bool = False
    reason: str = field(default=NOT_WANTED, compare=False)
    stays: str = field(default="", compare=False)

    @property
    def managed(self) -> bool:
        """Whether it is managed: dynoctl created it and may change it."""
        return not self.foreign and not self.blocked


@dataclass(frozen=True)
class Upload:
    """A local file that a server needs before the commands of a change run; skipped if ``path`` exists."""

    local: str
    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Resource:
    """A resource on a server. ``triggers`` are the keys (``kind.name``) of resources whose change restarts this one."""

    server: str
    kind: str
    name: str
    attributes: Attributes
    dyno: str | None = None
    """The dyno that the resource belongs to, such as ``web.1``, if it belongs to one."""
    triggers: tuple[str, ...] = ()
    content: str = field(default="", compare=False, repr=False)
    """The text of a file if the attributes have only its digest."""
    follows: bool = field(default=False, compare=False)
    """Whether it routes to dynos, and so is changed after them."""
    port: int = field(default=0, compare=False)
    """The TCP port of its dyno, 0 if it has none. It is recorded, so that the dyno keeps it."""
    local: Callable[..., Upload] | None = field(default=None, compare=False, repr=False)
    """Builds the file that servers need before the resource can be created. It is slow, so it is called once and only
    if needed. The parameters are those of ``infra.model.stack.Slug.image``."""

    @property
    def key(self) -> str:
        """The address within its server: ``unit.shop-web.1``."""
        return f"{self.kind}.{self.name}"

    @property
    def address(self) -> str:
        """The address in the fleet: ``grid-1/unit.shop-web.1``."""
        return f"{self.server}/{self.key}"


@dataclass(frozen=True)
class Command:
    """A program to run on a server as root. ``timeout`` is in seconds.

    ``secret``: stdin must not be shown. Nothing is quoted here; ``infra.remote`` does that once.
    """

    argv: tuple[str, ...]
    stdin: bytes | None = None
    secret: bool = False
    timeout: int = 60
    label: str = ""
    """The text shown while it runs, such as ``start web.1``."""
    quiet: bool = False
    """Whether it is not shown in the progress."""
    health: bool = False
    """Whether its status is the health of a dyno, so that the last log lines of the dyno explain a failure."""

    def __repr__(self) -> str:
        size = "" if self.stdin is None else f", stdin={len(self.stdin)} bytes"
        return f"Command({list(self.argv)!r}{size})"


@dataclass(frozen=True)
class Change:
    """A change of one resource: the attributes before and after (None: absent), and the reason."""

    resource: Resource
    action: Action
    before: Attributes | None
    after: Attributes | None
    reason: str = ""
    drift: bool = False
    """Whether the resource was changed by hand since the last apply."""
    drifted: tuple[str, ...] = ()
    """The dotted names of the attributes that were changed by hand; () if the resource was removed."""
    effect: Effect | None = None
    """The effect on the dyno of the resource, if it has one."""
    triggered: bool = False
    """Whether the dyno restarts for something else too: what it depends on changes, or somebody requested it."""
    settled: tuple[Change, ...] = field(default=(), compare=False, repr=False)
    """What an interrupted apply had already changed of its dyno, and may not have recorded."""

    @property
    def restarts(self) -> bool:
        """Whether a running dyno restarts with it."""
        return self.effect is Effect.RESTART

    @property
    def address(self) -> str:
        return self.resource.address

    def differing(self) -> tuple[str, ...]:
        """The names of the attributes that change, in the order of the resource's attributes."""
        before, after = self.before or {}, self.after or {}
        return tuple(name for name in after or before if not same(after.get(name), before.get(name)))


@dataclass(frozen=True)
class Counts:
    """The numbers of resources that are added, changed and destroyed. A restart counts as a change."""

    add: int
    change: int
    destroy: int


def count(changes: Iterable[Change]) -> Counts:
    """Count changes, for every view and record."""
    actions = [change.action for change in changes]
    changed = actions.count(Action.UPDATE) + actions.count(Action.RESTART)
    return Counts(actions.count(Action.CREATE), changed, actions.count(Action.DELETE))


def same(wanted: Attribute, found: Attribute) -> bool:
    """Compare a desired attribute with an observed one; fingerprints are compared by digest."""
    if isinstance(found, Fingerprint):
        if isinstance(wanted, str | Sensitive):
            return found.fits(wanted)
        return isinstance(wanted, Fingerprint) and wanted == found
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        # Most are equal, without anything that has to be looked into.
        if wanted == found:
            return True
        return wanted.keys() == found.keys() and all(same(wanted[key], found[key]) for key in wanted)
    return wanted == found


def digest_of(attributes: Attributes | None) -> str:
    """A digest of observed attributes, for the fingerprint of a plan. Secrets are included as their digests."""
    return hashlib.sha256(_ENCODER.encode(attributes).encode()).hexdigest()


def _plain(value: object) -> object:
    """What JSON has no type for."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Fingerprint):
        return ["fingerprint", value.digest]
    if isinstance(value, Sensitive):
        return ["sensitive"]
    raise TypeError(type(value).__name__)


_ENCODER = json.JSONEncoder(sort_keys=True, default=_plain)
