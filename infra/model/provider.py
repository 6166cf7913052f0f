"""The contract of a resource type: how it is observed, parsed and changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from infra.model import paths
from infra.model.resource import Attributes, Change, Command, Effect, Found
from infra.sensitive import Sensitive


@dataclass(frozen=True)
class Fragment:
    """A POSIX sh script for one round trip: constant text, with values passed as shell variables."""

    script: str
    """"" if there is nothing to print but what ``shared`` prints."""
    variables: Mapping[str, str] = field(default_factory=dict)
    shared: Mapping[str, Fragment] = field(default_factory=dict)
    """By section, what several fragments need and is printed once. Its output follows that of the fragment."""


@dataclass(frozen=True)
class Scope:
    """What providers know before a server is observed: the app and what is desired.

    ``salt`` is random for each run of dynoctl. ``environments`` are the desired config vars by process type.
    """

    app: str
    salt: str
    environments: Mapping[str, Mapping[str, str | Sensitive]] = field(default_factory=dict)
    credentials: Mapping[str, Sensitive] = field(default_factory=dict)
    """The secrets that every dyno gets as files."""
    packages: tuple[str, ...] = ()
    """The Debian packages of the layers."""
    router: str = ""
    """The Debian package of the router."""
    builder: str = ""
    """The server on which the slug is built, "" if it is the local machine."""
    build_packages: tuple[str, ...] = ()
    """The Debian packages that it needs for that."""
    tls: Mapping[str, Sensitive] = field(default_factory=dict)
    """The router's certificate and key."""
    artifacts: Mapping[str, str | Sensitive] = field(default_factory=dict)
    """What logs in to the store of slugs, by ``infra.manifest.artifacts.Artifacts.logins``."""
    handed: Mapping[str, str] = field(default_factory=dict)
    """By dyno that moves to another server: what ``Provider.pause`` printed on the old one."""


@dataclass(frozen=True)
class Brief:
    """Which attributes of a resource type are worth a line, as dotted names: ``shown`` with their values and ``named``
    without, if it is new; all but ``mechanics``, and what is below them without ``kept``, if it changes."""

    shown: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    mechanics: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def leaves_out(self, name: str) -> bool:
        """Whether an attribute that changes is not worth a line."""
        return within(name, self.mechanics) and name not in self.kept


def within(name: str, names: Sequence[str]) -> bool:
    """Whether a dotted name is one of ``names``, or below one."""
    return any(name == one or name.startswith(f"{one}.") for one in names)


class Provider(Protocol):
    """A resource type. Implementations do no I/O: values in, values out."""

    @property
    def kind(self) -> str:
        """The name of the resource type in addresses, such as ``unit``."""
        ...

    @property
    def first(self) -> bool:
        """Whether its resources are created before a slug is built, as a build may need them."""
        ...

    @property
    def last(self) -> bool:
        """Whether its resources route to dynos: changed after new dynos are up, and before old ones are removed."""
        ...

    @property
    def alone(self) -> bool:
        """Whether it must never be on two servers: it is removed from one before it is created on another."""
        ...

    @property
    def headline(self) -> Sequence[str]:
        """The attributes to show for a new resource, as dotted names; empty means all."""
        ...

    @property
    def brief(self) -> Brief:
        """What of the resource is worth a line where the whole plan must fit a screen."""
        ...

    def observe(self, scope: Scope) -> Fragment:
        """The sh fragment that prints what ``parse`` reads. Runs as root, in a subshell, LC_ALL=C."""
        ...

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        """Parse the output of the fragment and of what it shares: this app's resources on the server, by name.

        Raises ValueError if the output is invalid."""
        ...

    def effect(self, change: Change) -> Effect | None:
        """The effect of a change on the dyno that the resource belongs to."""
        ...

    def triggers(self, change: Change) -> bool:
        """Whether dependent resources must restart for this change."""
        ...

    def spontaneous(self, found: Attributes) -> Collection[str]:
        """The attributes that came to differ although nobody changed them, such as the state of a dyno that crashed."""
        ...

    def recorded(self, attributes: Attributes, salt: str) -> Mapping[str, object]:
        """The attributes to record as applied, as JSON values; secrets only as salted digests."""
        ...

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        """The commands that make the change. Each is idempotent and replaces files atomically."""
        ...

    def files(self, scope: Scope, change: Change) -> Sequence[str]:
        """The files that a change overwrites. Restoring them reverts the resource."""
        ...

    def free(self, scope: Scope, change: Change) -> Command | None:
        """A command that fails if something else has what the resource needs, such as a port; its output says what.
        None if it needs nothing of the kind."""
        ...

    def undo(self, scope: Scope, change: Change) -> Sequence[Command]:
        """The commands that activate the files after they were restored."""
        ...

    def was_up(self, change: Change) -> bool:
        """Whether the resource's dyno was up before the change, so that it must come up again if it goes back. True if
        the change has no effect on it."""
        ...

    def dormant(self, attributes: Attributes) -> bool:
        """Whether a resource that must never be on two servers exists on one, but does not run there."""
        ...

    def rehearse(self, scope: Scope, change: Change) -> Sequence[Command]:
        """The commands that check whether the change can be made. They change nothing."""
        ...

    def pause(self, scope: Scope, change: Change) -> Sequence[Command]:
        """The commands that stop a resource so that it can start on another server. Their last line is what
        ``Scope.handed`` tells the other one. Nothing is removed, so that ``resume`` can undo it."""
        ...

    def resume(self, scope: Scope, change: Change) -> Sequence[Command]:
        """The commands that start a paused resource again; they make up for what it missed. ``Scope.handed`` is of the
        server to which it had moved."""
        ...

    def among(self, change: Change, dynos: Mapping[str, str | None]) -> Change:
        """The change of a resource that routes to dynos, with different addresses for some of them; None: no
        address."""
        ...

    def upstreams(self, change: Change) -> Mapping[str, str]:
        """The addresses that it routed to before the change, by dyno."""
        ...

    def alive(self, scope: Scope, change: Change) -> Command | None:
        """A command that succeeds if the resource's dyno is healthy, and did not restart by itself since the change.
        None if the resource does not run a dyno."""
        ...

    def explain(self, scope: Scope, change: Change) -> Command | None:
        """A command that prints why a change failed, such as the last log lines of a dyno. None if the output of the
        change explains it."""
        ...


@dataclass(frozen=True)
class Dyno:
    """A desired dyno on its server."""

    name: str
    """``web.1``"""
    server: str
    listen: str = ""
    """The address and the port of a web dyno; "" and 0 for all others."""
    port: int = 0
    cpu: int = 0
    """Its CPU quota in thousandths of a core, if it is not that of its type."""
    mounts: str = paths.MOUNTS
    """Where the directory of the mounted slugs really is on its server."""
