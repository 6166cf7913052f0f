"""The connections to gateways, each of which the servers behind it share.

sshd limits how many logins may be under way at once (MaxStartups), so a connection of its own for each server would be
dropped with some tens of servers. Tunnels are no sessions, and so are not limited by MaxSessions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infra.errors import Unreachable
from infra.remote.ssh_settings import Settings

if TYPE_CHECKING:
    import fabric

MOST = 64
"""Servers behind one connection. All its bytes pass one thread, and OpenSSH's client has the same limit of channels."""

Route = tuple[Settings, ...]


@dataclass(eq=False)
class _Shared:
    connection: fabric.Connection
    users: int = 1

    @property
    def usable(self) -> bool:
        transport = self.connection.transport
        return self.users < MOST and transport is not None and transport.is_active()


@dataclass
class _Way:
    opening: threading.Lock = field(default_factory=threading.Lock)
    shared: list[_Shared] = field(default_factory=list)
    failed: tuple[float, Unreachable] | None = None


class Gateways:
    """The connections that are open. ``get`` one for each server, and ``release`` it."""

    def __init__(self) -> None:
        self._ways: dict[Route, _Way] = {}
        self._books = threading.Lock()

    def get(self, route: Route, open_: Callable[[], fabric.Connection]) -> fabric.Connection:
        """A connection to the last host of ``route``, which ``open_`` opens if there is none. Logins come one after the
        other, and a failure is that of everybody who waits for it. Raises what ``open_`` raises."""
        began = time.monotonic()
        with self._books:
            way = self._ways.setdefault(route, _Way())
        with way.opening:
            with self._books:
                for shared in way.shared:
                    if shared.usable:
                        shared.users += 1
                        return shared.connection
            if way.failed is not None and way.failed[0] >= began:
                raise way.failed[1]
            try:
                connection = open_()
            except Unreachable as error:
                way.failed = time.monotonic(), error
                raise
            with self._books:
                way.shared.append(_Shared(connection))
            return connection

    def release(self, connection: fabric.Connection) -> bool:
        """One server less uses a connection. Returns whether it was the last, so that the connection can be closed."""
        with self._books:
            for way in self._ways.values():
                for shared in way.shared:
                    if shared.connection is connection:
                        shared.users -= 1
                        if not shared.users:
                            way.shared.remove(shared)
                        return not shared.users
        return True
