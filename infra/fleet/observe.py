"""Observe servers in parallel, with one connection and one script each; those that fail are reported as unreachable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

from infra.errors import DynoctlError, NewerRecords
from infra.fleet import facts as server_facts
from infra.fleet import known_records
from infra.fleet.facts import Facts
from infra.model.answer import reading
from infra.model.provider import Fragment, Provider, Scope
from infra.model.resource import Attribute, Attributes, Found, digest_of
from infra.model.shell import Connect, Observable, Sections, Session, answered, ask, connect_and_ask
from infra.model.target import Target
from infra.model.text import quantity
from infra.remote.parallel import each

FACTS = "facts"

_Flags = tuple[bool | str, ...]


@dataclass(frozen=True)
class Observed:
    """What was found on one server: its facts, and this app's resources by key (``unit.shop-web.1``)."""

    facts: Facts
    resources: Mapping[str, Found]

    def fingerprint(self) -> str:
        """A digest of everything on this server that a plan depends on, absence included; without volatile values."""
        return self._fingerprint

    def differs(self, other: Observed) -> bool:
        """Whether the digest would be another, which takes longer to compute."""
        return self._lasting() != other._lasting()

    @cached_property
    def _fingerprint(self) -> str:
        parts, resources = self._lasting()
        lines = (f"{key} {digest_of(values)}{_text(flags)}" for key, (values, flags) in sorted(resources.items()))
        return digest_of({**parts, "resources": tuple(lines)})

    def _lasting(self) -> tuple[dict[str, Attribute], dict[str, tuple[Attributes, _Flags]]]:
        """What the digest is of: the facts, and each resource with its flags."""
        facts = self.facts
        parts: dict[str, Attribute] = {
            "machine": facts.machine_id,
            "address": facts.own_address(facts.meta),
            "cores": facts.cores,
            "routes": tuple(sorted(route.lasting() for route in facts.routes)),
            "marks": tuple(sorted(repr(mark) for mark in facts.marks)),
            "pending": tuple(sorted(facts.pending)),
            "serial": str(facts.meta.get("serial", "")),
            "releases": tuple(sorted(release.as_json() for release in facts.releases)),
            "bodies": tuple(sorted(str(number) for number in facts.bodies)),
        }
        return parts, {key: (found.attributes, _flags(found)) for key, found in self.resources.items()}


@dataclass
class Fleet:
    """The open sessions, what was found on each server, and why the others are unreachable."""

    sessions: dict[str, Session] = field(default_factory=dict)
    found: dict[str, Observed] = field(default_factory=dict)
    unreachable: dict[str, DynoctlError] = field(default_factory=dict)

    def close(self) -> None:
        for session in self.sessions.values():
            session.close()

    def round_trips(self) -> dict[str, int]:
        """The number of connections and execs so far, on all servers together."""
        return {
            "connections": sum(session.connections for session in self.sessions.values()),
            "execs": sum(session.execs for session in self.sessions.values()),
        }


class Observer:
    """Observes servers. The fragments are the same before and under the lock, so their results can be compared."""

    def __init__(self, providers: Sequence[Provider], scope: Scope, ruby: str, executables: tuple[str, ...]) -> None:
        self._providers = providers
        self.scope = scope
        self._fragments: dict[str, Fragment] = {}
        self._sections: dict[str, tuple[str, ...]] = {}
        """The sections in which the answer to each fragment is, by name."""
        self._add(FACTS, server_facts.fragment(scope, ruby, executables))
        for provider in providers:
            self._add(provider.kind, provider.observe(scope))

    def _add(self, name: str, fragment: Fragment) -> None:
        own = {name: replace(fragment, shared={})} if fragment.script else {}
        self._fragments |= {**own, **fragment.shared}
        self._sections[name] = (*own, *fragment.shared)

    @property
    def fragments(self) -> Mapping[str, Fragment]:
        """What is run on each server, by section."""
        return self._fragments

    def look(self, server: Observable) -> Observed:
        """Observe a server in one round trip. Raises Unreachable, or InvalidAnswer."""
        return ask(server, self.looked)

    def looked(self, server: Observable) -> Observed:
        """The same, as a question for a connection of this process."""
        known, asked = known_records.known(self.scope.app), self._fragments[FACTS]
        asked = replace(asked, variables={**asked.variables, "known": " ".join(known)})
        return self.read(server.name, server.observe({**self._fragments, FACTS: asked}), known)

    def read(self, server: str, parts: Sections, known: Mapping[str, str] = MappingProxyType({})) -> Observed:
        """What the sections of an answer say; there may be others among them. ``known`` are the records that the server
        was told of, by digest. Raises InvalidAnswer."""
        try:
            with reading(server):
                facts = server_facts.parse(self._output(parts, FACTS), self.scope.app, known)
                resources: dict[str, Found] = {}
                for provider in self._providers:
                    for name, found in provider.parse(self.scope, self._output(parts, provider.kind)).items():
                        resources[f"{provider.kind}.{name}"] = found
                return Observed(facts, resources)
        except NewerRecords as error:
            raise NewerRecords(f"{server}: {error.summary}", error.hint) from None

    def _output(self, parts: Sections, name: str) -> str:
        """What was printed for one fragment. It is the same text for all that print nothing but what they share."""
        first, *others = [_part(parts, section) for section in self._sections[name]]
        return "\n".join([first, *others]) if others else first


def _flags(found: Found) -> _Flags:
    return (found.foreign, found.blocked, found.kept, found.damaged)


def _text(flags: _Flags) -> str:
    return "".join(f" {flag}" for flag in flags if flag)


def _part(parts: Sections, name: str) -> str:
    if name not in parts:
        raise ValueError(f"no section {name} in the output")
    status, text = parts[name]
    if status != 0:
        raise ValueError(f"section {name} exited with status {status}: {text.strip()[-200:]}")
    return text


def observe(
    targets: Sequence[Target],
    observer: Observer,
    fleet: Fleet,
    connect: Connect,
    sessions: Mapping[str, Session] | None = None,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Connect to all targets in parallel and observe them; add the results to ``fleet``. ``sessions`` are already open.
    ``progress`` is called with what is waited for.

    Raises NewerRecords if a server has some: a plan without that server would be wrong."""

    waiting = {target.name for target in targets}

    def work(target: Target) -> tuple[Session, Observed]:
        try:
            session = (sessions or {}).get(target.name)
            if session is None:
                return connect_and_ask(connect, target, observer.looked)
            return answered(session, observer.looked)
        finally:
            waiting.discard(target.name)
            say()

    def say() -> None:
        missing = list(waiting)
        slow = f", waiting for {', '.join(sorted(missing))}" if 0 < len(missing) <= min(3, len(targets) - 1) else ""
        answered = f": {len(targets) - len(missing)} done{slow}" if len(missing) < len(targets) else ""
        progress(f"Observing {quantity(len(targets), 'server')}{answered}")

    say()
    newer: list[NewerRecords] = []
    for target, result in each(work, targets).items():
        if isinstance(result, NewerRecords):
            newer.append(result)
        elif isinstance(result, DynoctlError):
            fleet.unreachable[target.name] = result
        else:
            fleet.sessions[target.name], fleet.found[target.name] = result
    if newer:
        raise newer[0]
