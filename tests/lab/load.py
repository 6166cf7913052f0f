"""A constant, bounded load on web dynos: one connection for each request, every failure and the worst latency kept."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from tests.lab.support import WAIT, eventually

PAUSE = 0.01
"""Seconds between two requests of one client."""

LONGEST = 900
"""Seconds after which a load stops by itself, should its test never end it."""


class Load:
    """One client for each dyno, from ``with`` to its end."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], path: str = "/up") -> None:
        self.path = path
        self.worst = 0.0
        self.count = 0
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._mutex = threading.Lock()
        rows = list(rows)
        self._asked = {row["dyno"]: 0 for row in rows}
        self._clients = [
            threading.Thread(target=self._ask, args=(row["dyno"], row["listen"], row["port"])) for row in rows
        ]

    def __enter__(self) -> Load:
        for client in self._clients:
            client.start()
        self._all_answer()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        if kind is None:
            self._all_answer()  # also to what has just been done
        self._stop.set()
        for client in self._clients:
            client.join()

    def _all_answer(self) -> None:
        """Wait until each client has asked once more."""
        with self._mutex:
            before = dict(self._asked)
        eventually(lambda: all(self._asked[name] > before[name] for name in before), seconds=3 * WAIT)

    def _ask(self, dyno: str, host: str, port: int) -> None:
        deadline = time.monotonic() + LONGEST
        while not self._stop.wait(PAUSE) and time.monotonic() < deadline:
            began = time.monotonic()
            failure = ""
            connection = http.client.HTTPConnection(host, port, timeout=WAIT)
            try:
                connection.request("GET", self.path)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    failure = f"{dyno}: {answer.status}"
            except (OSError, http.client.HTTPException) as error:
                failure = f"{dyno}: {error!r}"
            finally:
                connection.close()
            with self._mutex:
                self.count += 1
                self._asked[dyno] += 1
                self.worst = max(self.worst, time.monotonic() - began)
                if failure:
                    self.failures.append(failure)

    def __str__(self) -> str:
        return f"{self.count} requests, {len(self.failures)} failed, worst {self.worst:.2f} s"
