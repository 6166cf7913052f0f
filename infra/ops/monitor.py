"""Monitor a fleet: each server reports its load and its dynos every few seconds, from one script on one connection. An
unreachable server is retried until it is reachable."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from infra.errors import Unreachable
from infra.fleet import status, vitals
from infra.fleet.reconnect import stay_connected
from infra.fleet.site import Site, examine
from infra.fleet.status import ServerStatus
from infra.fleet.vitals import Vitals
from infra.manifest.model import Manifest
from infra.model.answer import reading
from infra.model.dyno_status import Reader, Row
from infra.model.target import Target
from infra.remote import limits
from infra.remote.quote import observation, sections
from infra.remote.session import Session
from infra.remote.stream import Stream


@dataclass(frozen=True)
class Sample:
    """The last sample of a server. ``cpu`` is the share of a core that each dyno used between the last two samples.
    ``unreachable`` is the reason if the server is unreachable; the other values are then those of the last sample.
    ``samples`` counts the samples."""

    server: str
    vitals: Vitals | None = None
    status: ServerStatus = field(default_factory=ServerStatus)
    cpu: Mapping[str, float] | None = None
    unreachable: str = ""
    samples: int = 0


class Monitor:
    """A context manager that monitors the servers while it is open."""

    def __init__(self, app: str, reader: Reader, targets: Sequence[Target], interval: float) -> None:
        self._app, self._reader, self._targets = app, reader, targets
        self._nonce = secrets.token_hex(12)
        fragments = {"vitals": vitals.fragment(), **status.fragments(app, reader)}
        self._script = _LOOP.replace("OBSERVE", observation(fragments, self._nonce))
        self._values = {"interval": f"{interval:g}"}
        self._last = {target.name: Sample(target.name) for target in targets}
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()

    def __enter__(self) -> Monitor:
        for target in self._targets:
            threading.Thread(target=self._follow, args=(target,), daemon=True, name=f"top {target.name}").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with self._lock:
            sessions = list(self._sessions.values())
        for session in sessions:
            with suppress(OSError, EOFError):
                session.close()

    def last_samples(self) -> list[Sample]:
        """The last sample of every server, in the order of the manifest."""
        with self._lock:
            return [self._last[target.name] for target in self._targets]

    def _follow(self, target: Target) -> None:
        def sample(session: Session, answers: Callable[[], None]) -> None:
            with self._lock:
                self._sessions[target.name] = session
            for text in self._samples(session):
                self._take(target.name, text)
                answers()
            raise Unreachable(f"the monitoring script on {target.name} ended")

        def lost(reason: str) -> None:
            with self._lock:
                self._last[target.name] = replace(self._last[target.name], unreachable=reason, cpu=None)

        stay_connected(target, sample, lost, self._over)

    def _samples(self, session: Session) -> Iterator[str]:
        done, lines, size = f"{self._nonce} done", list[str](), 0
        stream = Stream(session, self._script, self._values)
        for line in stream.lines():
            lines.append(line.decode(errors="replace"))
            size += len(line) + 1
            if lines[-1] == done:
                yield "\n".join(lines)
                lines, size = [], 0
            elif size > limits.OUTPUT:
                raise limits.OutputTooLarge(session.name, "the monitoring script", limits.OUTPUT)

    def _take(self, server: str, text: str) -> None:
        parts = sections(text, self._nonce)
        with reading(server):
            now = vitals.parse(parts["vitals"][1], self._app)
            found = status.parse(self._app, self._reader, server, parts)
        with self._lock:
            old = self._last[server]
            cpu = used(old, now.uptime, found.rows) if not old.unreachable and old.vitals else None
            self._last[server] = Sample(server, now, found, cpu, "", old.samples + 1)


def site_of(manifest: Manifest, samples: Sequence[Sample]) -> Site:
    """The app as a whole, from the last samples; servers that have not answered yet are neither well nor lost."""
    found = {sample.server: sample.status for sample in samples if sample.vitals is not None}
    silent = (sample for sample in samples if sample.unreachable or sample.vitals is None)
    return examine(manifest, found, {sample.server: sample.unreachable for sample in silent})


def used(old: Sample, uptime: float, rows: Sequence[Row]) -> dict[str, float]:
    """The share of a core that each dyno used since ``old``; without dynos that started since."""
    before = {(row.dyno, row.pid): row.cpu_seconds for row in old.status.rows}
    elapsed = uptime - (old.vitals.uptime if old.vitals else uptime)
    shares: dict[str, float] = {}
    for row in rows:
        last = before.get((row.dyno, row.pid))
        if last is not None and row.cpu_seconds is not None and elapsed > 0:
            shares[row.dyno] = max(0.0, row.cpu_seconds - last) / elapsed
    return shares


_LOOP = """\
while :; do
OBSERVE
sleep "$interval"
done
"""
