"""The Dask actor on a controller: it passes messages to a worker process beside it, and back.

So the worker is the same as on one's own machine, and neither Dask's own threads nor those of another command ever wait
for it."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from infra.remote.processes import ProcessLink

HOLD = 5.0
"""Seconds that the other side waits for a message before it says that there is none."""

PATIENCE = 45.0
"""Seconds without a word from the coordinator after which a worker ends, and with it its sessions and locks. So long a
lock lives without a heartbeat, too."""

Numbered = list[tuple[int, bytes]]
"""Messages with their numbers, in order: what was lost on its way is sent again, and what came twice is dropped."""


class Relay:
    """The actor: a worker process on the machine of a Dask worker."""

    def __init__(self) -> None:
        self._link = ProcessLink()
        self._found: deque[tuple[int, bytes]] = deque()
        self._last = 0
        self._news = threading.Condition()
        self._why = ""
        self._asked = time.monotonic()
        # One thread each, so that messages stay in order: Dask's own thread must never wait.
        self._posting, self._collecting = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        for work in (self._read, self._watch):
            threading.Thread(target=work, daemon=True).start()

    async def post(self, messages: Numbered) -> None:
        """Pass messages to the worker."""
        await asyncio.get_running_loop().run_in_executor(self._posting, self._post, messages)

    async def collect(self, known: int) -> tuple[Numbered, str]:
        """What the worker said after the message ``known``, at the latest after ``HOLD`` seconds; and why it is gone,
        or ""."""
        return await asyncio.get_running_loop().run_in_executor(self._collecting, self._collect, known)

    async def end(self) -> None:
        """End the worker."""
        threading.Thread(target=self._link.end, daemon=True).start()

    def _post(self, messages: Numbered) -> None:
        with suppress(OSError):  # if the worker is gone, ``collect`` says why
            for number, message in messages:
                if number > self._last:
                    self._last = number
                    self._link.send(message)

    def _collect(self, known: int) -> tuple[Numbered, str]:
        with self._news:
            self._asked = time.monotonic()
            while self._found and self._found[0][0] <= known:
                self._found.popleft()
            self._news.wait_for(lambda: self._found or self._why, HOLD)
            return list(self._found), self._why

    def _read(self) -> None:
        with suppress(OSError, EOFError):
            for number in itertools.count(1):
                message = self._link.receive()
                with self._news:
                    self._found.append((number, message))
                    self._news.notify()
        why = self._link.why()
        with self._news:
            self._why = why
            self._news.notify()

    def _watch(self) -> None:
        while not self._why:
            time.sleep(1)
            if time.monotonic() - self._asked > PATIENCE:
                self._link.end()
                return
