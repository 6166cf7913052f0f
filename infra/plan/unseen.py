"""Removals that are held back: a router on a server that cannot be asked may still lead to a dyno, nobody knows whether
the dyno's new home runs it, a dyno that must never be on two servers may run there, or a one-off dyno is under way."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from infra.fleet.facts import Facts, newest_meta
from infra.fleet.identity import address_of, recorded_address, recorded_connections
from infra.manifest.model import Manifest
from infra.model import naming
from infra.model.formation import Formation
from infra.model.one_offs import OneOff
from infra.model.provider import Provider
from infra.model.resource import Change

NAMED = 8
"""Maximum number of dynos named in a note."""


@dataclass(frozen=True)
class Held:
    """The removals that are held back, by server and dyno, and the notes that say why. ``slugs`` are those that one-off
    dynos run, by server."""

    dynos: frozenset[tuple[str, str]] = frozenset()
    notes: tuple[str, ...] = ()
    slugs: Mapping[str, Collection[str]] = field(default_factory=dict)

    @property
    def servers(self) -> frozenset[str]:
        return frozenset(server for server, _ in self.dynos)

    def includes(self, change: Change) -> bool:
        """Whether a removal is held back: that of a held dyno, or of what it may need on its server."""
        server, dyno = change.resource.server, change.resource.dyno
        if not change.action.removes or change.resource.follows:
            return False
        if dyno is not None:
            return (server, dyno) in self.dynos
        digest = (change.before or {}).get("digest")
        return server in self.servers or (server in self.slugs and (digest is None or digest in self.slugs[server]))


def unseen_routers(
    manifest: Manifest, found: Iterable[Facts], unreachable: Container[str], given_up: Collection[str] = ()
) -> tuple[str, ...]:
    """The unreachable servers that have a router of the app: by the manifest, or by the records of the others, which
    also know those that left it. Servers in ``given_up`` are lost, as the user says."""
    facts = list(found)
    newest, reached = newest_meta(facts), {server.machine_id for server in facts}
    names = [] if manifest.router is None else [name for name in manifest.router.servers if name in unreachable]
    addresses = {address_of(manifest, server): server.name for server in manifest.servers}
    connections = recorded_connections(newest)
    for machine in newest.get("routers", ()):
        connection = connections.get(machine, {})
        recorded = connection.get("name", "")
        # One that left the manifest has its own name, unless another server has that now.
        at = addresses.get(recorded_address(connection, manifest))
        shown = [at] if at is not None else [f"{recorded}-{machine[:8]}", recorded]
        names += [name for name in shown if name in unreachable and machine not in reached][:1]
    return tuple(name for name in dict.fromkeys(names) if name not in given_up)


def hold(
    changes: Sequence[Change],
    formation: Formation,
    providers: Mapping[str, Provider],
    unreachable: Container[str],
    routers: Sequence[str] = (),
    one_offs: Mapping[str, Sequence[OneOff]] = MappingProxyType({}),
    *,
    moving: Mapping[str, str] = MappingProxyType({}),
) -> Held:
    """The removals to hold back. ``routers`` are the servers of ``unseen_routers``; ``one_offs`` are those under way,
    by server; ``moving`` are those of ``unfinished_moves``."""
    routed: dict[str, dict[str, None]] = {}
    awaited: dict[tuple[str, str], dict[str, None]] = {}
    paused: dict[tuple[str, str], str] = {}
    for change in changes:
        server, dyno = change.resource.server, change.resource.dyno
        home = formation.homes.get(dyno or "")
        if dyno is None or not change.action.removes or home == server:
            continue
        web = naming.parse_dyno(dyno)[0] == "web"
        if web and routers:
            routed.setdefault(server, {})[dyno] = None
        elif home in unreachable and (web or moving.get(dyno) == server):
            awaited.setdefault((server, home or ""), {})[dyno] = None
        provider = providers[change.resource.kind]
        if provider.alone and home in unreachable and provider.dormant(change.before or {}):
            paused[server, dyno] = home or ""
    notes = [
        f"kept on {server}: {_names([*dynos])}; the router on {', '.join(routers)} is unreachable and may still lead "
        f"to {'it' if len(dynos) == 1 else 'them'}"
        for server, dynos in routed.items()
    ]
    for (server, home), kept_for in awaited.items():
        shown = [dyno for dyno in kept_for if (server, dyno) not in paused]
        belong, them = ("it belongs", "it") if len(shown) == 1 else ("they belong", "them")
        if shown:
            notes.append(
                f"kept on {server}: {_names(shown)}; {home}, where {belong}, is unreachable and may not run {them}"
            )
    notes += [
        f"kept on {server}: {dyno}, paused to move to {home}, which is unreachable and may run it; "
        f"to start it without {home}: dynoctl apply --evacuate {home}"
        for (server, dyno), home in paused.items()
    ]
    slugs = {server: {one_off.slug for one_off in running} for server, running in one_offs.items() if running}
    needed = Held(slugs=slugs)
    for server in slugs:
        if any(change.resource.server == server and needed.includes(change) for change in changes):
            names = sorted(one_off.name for one_off in one_offs[server])
            notes.append(
                f"kept on {server} until {', '.join(names)} {'ends' if len(names) == 1 else 'end'}: the slug and what "
                "else a one-off dyno needs"
            )
    kept = {(server, dyno) for server, found in routed.items() for dyno in found}
    kept |= {(server, dyno) for (server, _), found in awaited.items() for dyno in found}
    return Held(frozenset(kept | paused.keys()), tuple(notes), slugs)


def unfinished_moves(found: Mapping[str, Facts]) -> dict[str, str]:
    """By dyno, the reachable server that it was to leave in an apply that was not completed."""
    names = {facts.machine_id: name for name, facts in found.items()}
    moving = newest_meta(found.values()).get("moving", {})
    return {dyno: names[machine] for dyno, machine in moving.items() if machine in names}


def _names(dynos: Sequence[str]) -> str:
    shown = sorted(dynos, key=naming.dyno_order)
    return ", ".join(shown[:NAMED]) + (", ..." if len(shown) > NAMED else "")
