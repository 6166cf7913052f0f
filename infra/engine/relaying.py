"""Hand the slug from server to server, in rounds: each server that has it gives it to one that has not."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from infra.artifacts import relay as commands
from infra.engine.context import Context
from infra.engine.pulling import pulled
from infra.errors import DynoctlError
from infra.model.events import Event
from infra.model.resource import Upload
from infra.remote.parallel import each

ENOUGH = 2
"""If so many servers of a network cannot give the slug before any has taken it, the others are not asked."""


class _CannotGive(DynoctlError):
    """The server that has the slug cannot give it."""


Pair = tuple[str, str]
"""The server that gives, and the one that takes."""


@dataclass
class _Network:
    """The servers of one network: those that have the slug, and those that wait for it."""

    having: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    handed: bool = False
    """Whether a server took the slug from another one."""
    failed: str = ""
    """Why a server could not take it, if one could not, or why two could not give it."""
    silent: int = 0
    """How many servers could not give it."""


def relay(context: Context, image: Upload, servers: Sequence[str]) -> tuple[frozenset[str], dict[str, str]]:
    """Bring the slug to ``servers`` from others of their networks; returns those that have it then, and why others have
    it not. To a network without it, it is sent over SSH once. The rest is left for SSH."""
    context.listener(Event("phase", text="relay the slug", total=len(servers)))
    work = _Relay(context, image, servers)
    while not context.stop.is_set() and work.round():
        pass
    for server in sorted(work.sent & work.reasons.keys()):
        context.ledger.sent_by_ssh(server, work.reasons[server])
    having = frozenset(work.sent | work.handed)
    return having, {server: why for server, why in work.reasons.items() if server not in having}


class _Relay:
    """The state of one relay: who has the slug, who got it how, and why others did not. Changed by one thread only."""

    def __init__(self, context: Context, image: Upload, servers: Sequence[str]) -> None:
        self._context = context
        self._image = image
        self._networks = _networks(context, servers)
        self.sent: set[str] = set()
        self.handed: set[str] = set()
        self.reasons: dict[str, str] = {}

    def round(self) -> bool:
        """One round; returns whether another one is needed."""
        seeds = {one.waiting.pop(0): one for one in self._networks if one.waiting and not one.having}
        for server, error in each(self._seed, seeds).items():
            if error is None:  # what is wrong with others is found where it is sent to them again
                seeds[server].having.append(server)
                self.sent.add(server)
        pairs: dict[Pair, _Network] = {}
        for network in self._networks:
            taking = network.waiting[: len(network.having)]
            network.waiting = network.waiting[len(taking) :]
            pairs |= dict.fromkeys(zip(network.having, taking, strict=False), network)
        for pair, result in each(self._hand_on, pairs).items():
            self._settle(pair, pairs[pair], result)
        for network in self._networks:
            if network.failed and not network.handed:
                # Nobody could take it: the servers of this network may not reach each other, or lack what it takes to
                # give it. To ask one after the other would be slower than to send it to all at the same time.
                self.reasons |= dict.fromkeys(network.waiting, network.failed)
                network.waiting = []
        return any(network.waiting for network in self._networks)

    def _settle(self, pair: Pair, network: _Network, result: str | DynoctlError | None) -> None:
        giver, taker = pair
        if result is None:
            network.handed = True
            network.having.append(taker)
            self.handed.add(taker)
            self._context.listener(Event("done", taker, "slug", "relayed"))
            return
        if isinstance(result, _CannotGive):
            network.having.remove(giver)
            network.waiting.append(taker)
            network.silent += 1
        why = result.summary if isinstance(result, DynoctlError) else result
        self.reasons[taker] = f"it cannot be relayed from {giver}: {why}"
        if not isinstance(result, DynoctlError) or network.silent >= ENOUGH:
            network.failed = self.reasons[taker]

    def _seed(self, server: str) -> None:
        """Send the slug over SSH, for the server and for others."""
        self._tell(server, f"send {self._size}")
        self._context.prepared.fleet.sessions[server].upload(
            Path(self._image.local), self._image.path, self._image.sha256
        )
        self._context.listener(Event("done", server, "slug", "sent"))

    def _hand_on(self, pair: Pair) -> str | None:
        """Let one server give the slug to another; returns why the other cannot take it. Raises _CannotGive."""
        giver, taker = pair
        prepared, app = self._context.prepared, self._context.app
        session, address = prepared.fleet.sessions[giver], prepared.fleet.found[giver].facts.address
        key = commands.token()
        self._tell(taker, f"take {self._size} from {giver}")
        try:
            try:
                bandwidth = prepared.manifest.artifacts.bandwidth
                give = commands.give(self._image, app, address, key, prepared.stack.program, bandwidth=bandwidth)
                source = commands.given(session.execute(give)[1], address, key)
            except DynoctlError as error:
                raise _CannotGive(error.summary) from None
            failed = pulled(self._context, taker, self._image, source)
            return None if failed is None else failed.why
        finally:
            with suppress(DynoctlError):  # its deadline closes it, too
                session.execute(commands.close(app))

    def _tell(self, server: str, text: str) -> None:
        self._context.listener(Event("upload", server, "slug", text))

    @property
    def _size(self) -> str:
        return f"{self._image.size / 2**20:.1f} MiB"


def _networks(context: Context, servers: Iterable[str]) -> list[_Network]:
    """The networks of ``servers``, with whoever has the slug there already."""
    found, slug = context.prepared.fleet.found, context.prepared.slug
    keys = context.prepared.registry.slug_keys(context.app, [] if slug is None else [slug.digest])
    networks: dict[str, _Network] = {}
    for server in servers:
        networks.setdefault(network_of(server, found[server].facts.address), _Network()).waiting.append(server)
    for server in context.shells:
        network = networks.get(network_of(server, found[server].facts.address))
        copies = [found[server].resources[key] for key in keys if key in found[server].resources]
        whole = any(copy.managed and not copy.damaged for copy in copies)
        if network is not None and whole and context.ledger.usable(server):
            network.having.append(server)
    return list(networks.values())


def network_of(server: str, address: str) -> str:
    """The network of an address, as far as one link commonly goes. A server whose address is unknown is alone: it could
    only listen on all of them."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return server
    return str(ipaddress.ip_network((address, 24 if parsed.version == 4 else 64), strict=False))
