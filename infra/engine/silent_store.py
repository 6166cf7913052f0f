"""Whether the servers of a network get no answer from a store, so that the others need not wait for it, too."""

from __future__ import annotations

import threading
from collections import defaultdict

from infra.model.text import enumeration

ENOUGH = 2
"""If so many servers of a network get no answer before any has pulled, the others are not asked."""


class SilentStore:
    """What servers found of one store. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._silent: dict[str, dict[str, str]] = defaultdict(dict)
        self._answered: set[str] = set()

    def found(self, network: str, server: str, silent: str = "") -> None:
        """Note that the store gave a server an answer of any kind, or is ``silent``, which is why."""
        with self._mutex:
            if silent:
                self._silent[network][server] = silent
            else:
                self._answered.add(network)

    def why(self, network: str) -> str:
        """Why the servers of a network are not asked; "" if they are."""
        with self._mutex:
            silent = self._silent.get(network, {})
            if network in self._answered or len(silent) < ENOUGH:
                return ""
            first = dict(list(silent.items())[:ENOUGH])
            return f"{enumeration(list(first))} got no answer: {next(iter(first.values()))}"
