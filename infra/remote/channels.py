"""Channels to one server: on further connections if its sshd allows few sessions on each (MaxSessions)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.errors import Unreachable
from infra.model.target import Target
from infra.remote.connect import close, connect

if TYPE_CHECKING:
    import fabric
    import paramiko

AT_ONCE = 3
"""Channels that an apply has open at once: the shell that holds the lock, its heartbeat and an upload."""

MOST = 8
"""Connections to one server. With MaxSessions 1, each channel takes one."""


class Channels:
    """The connections to one server, the first of which is there from the beginning."""

    def __init__(self, target: Target) -> None:
        """Raises Unreachable."""
        self._target = target
        self._connections = [connect(target)]

    def __len__(self) -> int:
        """The number of connections that were opened."""
        return len(self._connections)

    @property
    def first(self) -> fabric.Connection:
        return self._connections[0]

    def open(self, window: int | None) -> paramiko.Channel:
        """A new session. Raises EOFError if the first connection is closed, Unreachable if the server opens no session
        at all, and what paramiko raises."""
        import paramiko

        for connection in self._connections:
            transport = connection.transport
            if transport is None or not transport.is_active():
                if connection is self.first:
                    raise EOFError("the connection is closed")
                continue
            try:
                return self._session(transport, window)
            except paramiko.ChannelException:  # it has as many sessions as it may, or one of them is about to end
                continue
        if len(self._connections) < MOST:
            self._connections.append(connect(self._target))
            try:
                return self._session(self._connections[-1].transport, window)
            except paramiko.ChannelException:
                pass
        raise Unreachable(
            f"{self._target.name}: sshd opens no session for user {self.first.user}",
            "set MaxSessions in sshd_config of the server to 1 or more, better 10",
        )

    def _session(self, transport: paramiko.Transport, window: int | None) -> paramiko.Channel:
        channel: paramiko.Channel = transport.open_session(window, timeout=self._target.connect_timeout)
        return channel

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            close(connection)
