"""What a resource type must be able to do: be observed, be parsed, be changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from infra.model.resource import Attributes, Change, Command, Effect, Found
from infra.sensitive import Sensitive


@dataclass(frozen=True)
class Fragment:
    """POSIX sh for one round trip: constant text, with its values beside it as shell variables."""

    script: str
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scope:
    """What every provider may know before a server is observed: whose resources, and what is wanted there.

    ``salt`` is random for each run of dynoctl. ``environments`` holds the wanted env file of each dyno type.
    """

    app: str
    salt: str
    environments: Mapping[str, Mapping[str, str | Sensitive]] = field(default_factory=dict)
    credentials: Mapping[str, Sensitive] = field(default_factory=dict)
    """What every dyno gets as files."""
    packages: tuple[str, ...] = ()
    """The Debian packages that the layers come in."""
    router: str = ""
    """The Debian package that the router comes in."""
    tls: Mapping[str, Sensitive] = field(default_factory=dict)
    """The router's certificate and key."""
    handed: float = 0.0
    """When what moves to another server was stopped where it was, in seconds since 1970; 0: nothing moves so."""


class Provider(Protocol):
    """One resource type. Implementations are pure: values in, values out."""

    @property
    def kind(self) -> str:
        """The first word of an address: ``unit``."""
        ...

    @property
    def first(self) -> bool:
        """Whether its resources are made before anything is built, as a build may need them."""
        ...

    @property
    def last(self) -> bool:
        """Whether its resources lead to dynos: made when those that come are there, before others go."""
        ...

    @property
    def alone(self) -> bool:
        """Whether it must not be on two servers even for a moment: it goes before it comes elsewhere."""
        ...

    @property
    def headline(self) -> Sequence[str]:
        """Dotted names of the attributes worth reading when a resource is new; none named means all."""
        ...

    def observe(self, scope: Scope) -> Fragment:
        """The sh fragment that prints what ``parse`` reads. Runs as root, in a subshell, LC_ALL=C."""
        ...

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        """This app's resources on the server by name, as found.

        Raises ValueError where the output cannot be read (a server that is not what we think)."""
        ...

    def effect(self, change: Change) -> Effect | None:
        """What a change of this type does to the dyno it belongs to."""
        ...

    def triggers(self, change: Change) -> bool:
        """Whether what depends on the resource must restart for this change."""
        ...

    def recorded(self, attributes: Attributes, salt: str) -> Mapping[str, object]:
        """What the server remembers as applied, as JSON values; secrets only as salted digests."""
        ...

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        """The commands that make the change. Each is idempotent and writes files whole."""
        ...

    def files(self, scope: Scope, change: Change) -> Sequence[str]:
        """The files that a change of the resource overwrites: put back, they make it what it was."""
        ...

    def undo(self, scope: Scope, change: Change) -> Sequence[Command]:
        """What makes the files count again once they were put back."""
        ...

    def among(self, change: Change, dynos: Mapping[str, str | None]) -> Change:
        """The change of what leads to dynos, with some of them elsewhere than was planned; None: nowhere."""
        ...

    def upstreams(self, change: Change) -> Mapping[str, str]:
        """Where it led to until now, by dyno."""
        ...

    def alive(self, scope: Scope, change: Change) -> Command | None:
        """What ends well as long as the dyno that the resource is stays healthy. None where it is no dyno."""
        ...

    def explain(self, scope: Scope, change: Change) -> Command | None:
        """What prints why a change failed: a dyno's last journal lines. None where its own output says it."""
        ...


@dataclass(frozen=True)
class Dyno:
    """One desired dyno on its server, with everything the providers need to describe it."""

    name: str
    """``web.1``"""
    server: str
    listen: str = ""
    """The address and the port of a web dyno; "" and 0 for all others."""
    port: int = 0
