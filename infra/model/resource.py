"""The values the engine works on: resources, commands, changes and plans. No input or output here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from infra.sensitive import Sensitive, reveal


class Action(StrEnum):
    """What happens to a resource. The values are those of a plan's JSON."""

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
        """Whether the resource's own attributes change, and not only what runs with them."""
        return self in (Action.CREATE, Action.UPDATE)


class Effect(StrEnum):
    """What a change does to the dyno that its resource belongs to."""

    START = "start"
    RESTART = "restart"
    STOP = "stop"

    @property
    def boots(self) -> bool:
        """Whether the dyno boots, and so must answer."""
        return self is not Effect.STOP


@dataclass(frozen=True)
class Fingerprint:
    """A value on a server, known only by ``sha256(salt + encoded value)``; the value itself never travels.

    ``encode`` gives the bytes that the server hashed for a value, so that a desired one can be compared.
    """

    salt: str
    digest: str
    encode: Callable[[str], str] = field(compare=False, repr=False)

    def fits(self, value: str | Sensitive) -> bool:
        """True where ``value`` is what the server holds."""
        return fingerprint(self.salt, self.encode(reveal(value))) == self.digest


def fingerprint(salt: str, text: str) -> str:
    """Hex sha256 of salt and text, as ``printf %s`` into ``sha256sum`` makes it on a server."""
    return hashlib.sha256((salt + text).encode()).hexdigest()


Scalar = str | int | bool | None | Sensitive | Fingerprint
Attribute = Scalar | tuple[str, ...] | Mapping[str, Scalar]
Attributes = Mapping[str, Attribute]


@dataclass(frozen=True)
class Found:
    """A resource as it is on a server.

    ``foreign``: it is there, and dynoctl did not make it. ``blocked`` says why one of that name cannot be made at all
    ("" if it can). ``kept``: it stays though nothing wants it any more."""

    attributes: Attributes
    foreign: bool = False
    blocked: str = ""
    kept: bool = False

    @property
    def ours(self) -> bool:
        """Whether dynoctl made it and may change it."""
        return not self.foreign and not self.blocked


@dataclass(frozen=True)
class Upload:
    """A local file that a server needs before a change's commands run; skipped where ``path`` is there."""

    local: str
    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Resource:
    """One thing on one server. ``triggers`` names resources (``kind.name``) whose change restarts this one."""

    server: str
    kind: str
    name: str
    attributes: Attributes
    dyno: str | None = None
    """``web.1`` where the resource belongs to one dyno."""
    triggers: tuple[str, ...] = ()
    content: str = field(default="", compare=False, repr=False)
    """A file's text, where the attributes hold only its digest."""
    follows: bool = field(default=False, compare=False)
    """Whether it leads to the dynos, and so comes after every change of theirs."""
    port: int = field(default=0, compare=False)
    """The TCP port that goes with it: a dyno keeps it from apply to apply, so it is recorded. 0: none does."""
    local: Callable[..., Upload] | None = field(default=None, compare=False, repr=False)
    """Makes the file that servers need before this resource can be created; slow, so called once, and only then.
    What it takes is ``infra.model.stack.Slug.image``'s."""

    @property
    def key(self) -> str:
        """Its address on its server: ``unit.shop-web.1``."""
        return f"{self.kind}.{self.name}"

    @property
    def address(self) -> str:
        """Its address in the fleet: ``grid-1/unit.shop-web.1``."""
        return f"{self.server}/{self.key}"


@dataclass(frozen=True)
class Command:
    """One program to run on a server as root: argv, optional stdin, and a time limit in seconds.

    ``secret`` marks an stdin that must not be shown. Nothing is quoted here; ``infra.remote`` does that once.
    """

    argv: tuple[str, ...]
    stdin: bytes | None = None
    secret: bool = False
    timeout: int = 60
    says: str = ""
    """What a person reads while it runs: ``start web.1``."""
    quiet: bool = False
    """Whether it is bookkeeping that no progress view shows."""
    health: bool = False
    """Whether its status is a dyno's health, so that the dyno's own last words explain a failure."""

    def __repr__(self) -> str:
        size = "" if self.stdin is None else f", stdin={len(self.stdin)} bytes"
        return f"Command({list(self.argv)!r}{size})"


@dataclass(frozen=True)
class Change:
    """What happens to one resource: attributes before and after (None: absent), and why."""

    resource: Resource
    action: Action
    before: Attributes | None
    after: Attributes | None
    reason: str = ""
    drift: bool = False
    """True where somebody changed the server by hand since the last apply."""
    drifted: tuple[str, ...] = ()
    """The names, dotted, of what was changed by hand; () where it is gone as a whole."""
    effect: Effect | None = None
    """What it means to the dyno it belongs to."""

    @property
    def restarts(self) -> bool:
        """Whether a dyno that runs restarts with it."""
        return self.effect is Effect.RESTART

    @property
    def address(self) -> str:
        return self.resource.address

    def differing(self) -> tuple[str, ...]:
        """The names of the attributes that change, in the order of the resource."""
        before, after = self.before or {}, self.after or {}
        return tuple(name for name in after or before if not same(after.get(name), before.get(name)))


@dataclass(frozen=True)
class Counts:
    """How many resources are added, changed and destroyed; a restart counts as a change."""

    add: int
    change: int
    destroy: int


def count(changes: Iterable[Change]) -> Counts:
    """The changes of a plan or of a report in numbers: every view and record counts here."""
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
        return wanted.keys() == found.keys() and all(same(wanted[key], found[key]) for key in wanted)
    return wanted == found


def digest_of(attributes: Attributes | None) -> str:
    """A short digest of observed attributes, for the fingerprint of a plan. Secrets enter as their digests."""
    return hashlib.sha256(json.dumps(_plain(attributes), sort_keys=True).encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Fingerprint):
        return ["fingerprint", value.digest]
    if isinstance(value, Sensitive):
        return ["sensitive"]
    return value
