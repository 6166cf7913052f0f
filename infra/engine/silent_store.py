"""Whether a store keeps the servers of a network waiting, so that the others need not wait for it, too."""

from __future__ import annotations

import threading
from collections import defaultdict

from infra.model.text import enumeration

ENOUGH = 2
"""If so many servers of a network have waited in vain before any has pulled, the others are not asked."""


class SilentStore:
    """What servers found of one store. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._silent: dict[str, dict[str, str]] = defaultdict(dict)
        self._pulled: set[str] = set()

    def pulled(self, network: str) -> None:
        """Note that a server has pulled."""
        with self._mutex:
            self._pulled.add(network)

    def failed(self, network: str, server: str, why: str) -> None:
        """Note that a server has waited in vain."""
        with self._mutex:
            self._silent[network][server] = why

    def why(self, network: str) -> str:
        """Why the servers of a network are not asked; "" if they are."""
        with self._mutex:
            silent = self._silent.get(network, {})
            if network in self._pulled or len(silent) < ENOUGH:
                return ""
            first = dict(list(silent.items())[:ENOUGH])
            return f"not tried, as {enumeration(list(first))} could not: {next(iter(first.values()))}"
