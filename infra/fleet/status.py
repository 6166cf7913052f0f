"""What every dyno of an app is doing, over the whole fleet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from infra.errors import DynoctlError, Unreachable
from infra.model import naming, routing
from infra.model.provider import Fragment, Scope
from infra.model.routing import Route
from infra.model.shell import Session
from infra.model.target import Target
from infra.remote import session as ssh
from infra.remote.parallel import each


@dataclass(frozen=True)
class Job:
    """What a schedule did and will do. ``ended`` and ``took`` are the seconds since its last run ended and those that
    it took, ``result`` a word for how it ended; None (and "") where it has not run since the server came up. ``next``
    are the seconds until it runs again; None: it does not."""

    when: str
    result: str = ""
    ended: int | None = None
    took: int | None = None
    next: int | None = None


@dataclass(frozen=True)
class Row:
    """One dyno as it runs. ``uptime`` in seconds and ``memory`` in bytes; None where it does not run. ``memory_max`` is
    what it may have, ``share`` its part of a core in thousandths, ``cpu_seconds`` what it used since it started,
    ``waiting`` how many connections its socket holds that it has not taken, ``release`` 0 where nobody knows it."""

    dyno: str
    server: str
    listen: str
    port: int
    state: str
    slug: str
    pid: int | None
    uptime: int | None
    memory: int | None
    restarts: int
    release: int = 0
    share: int = 0
    memory_max: int | None = None
    cpu_seconds: float | None = None
    waiting: int | None = None
    job: Job | None = None
    """What it is where it does not run all the time."""


class Reader(Protocol):
    """Reads one server's dynos in one fragment."""

    def observe(self, scope: Scope) -> Fragment: ...

    def parse(self, scope: Scope, server: str, output: str) -> Sequence[Row]: ...


def list_dynos(
    app: str,
    reader: Reader,
    targets: Sequence[Target],
    sessions: Mapping[str, Session] | None = None,
    routes: dict[str, tuple[Route, ...]] | None = None,
) -> tuple[list[Row], dict[str, str]]:
    """Every dyno by name, and why some servers did not answer. ``sessions`` that are open are used, not closed;
    ``routes`` gets what each server's router does."""
    scope = Scope(app, "")
    fragments = {"processes": reader.observe(scope), "routes": Fragment(f"{routing.SCRIPT}:\n")}
    known = sessions or {}

    def look(target: Target) -> Sequence[Row]:
        session = known.get(target.name) or ssh.Session(target)
        try:
            parts = session.observe(fragments)
        finally:
            if target.name not in known:
                session.close()
        status, text = parts.get("processes", (1, ""))
        if routes is not None:
            routes[target.name] = routing.read(parts.get("routes", (1, ""))[1])
        if status != 0:
            raise Unreachable(f"{target.name}: listing its dynos failed: {text.strip()[-200:]}")
        return reader.parse(scope, target.name, text)

    rows: list[Row] = []
    lost: dict[str, str] = {}
    for target, result in each(look, targets).items():
        if isinstance(result, DynoctlError):
            lost[target.name] = result.summary
        else:
            rows += result
    return sorted(rows, key=lambda row: (naming.dyno_order(row.dyno), row.server)), lost
