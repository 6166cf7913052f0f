"""The one module that calls the engine: plan, apply, roll back and restart on a simulated fleet, as the command line does."""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

from infra.cli.apply import _code
from infra.cli.session import exit_code
from infra.engine import remembering
from infra.engine import restart as restarting
from infra.engine.apply import Applier, ApplyOptions
from infra.engine.prepare import prepare
from infra.engine.prepared import Prepared, Request
from infra.engine.restart import Restarter
from infra.errors import ERROR, OK, REJECTED, UNREACHABLE, DynoctlError
from infra.fleet import facts as server_facts
from infra.fleet.identity import Connections
from infra.fleet.inventory import targets
from infra.manifest.model import App, DynoType, Manifest, Rollout, Schedule, Server
from infra.manifest.model import Router as Routing
from infra.model.events import Event, Listener, Report
from infra.model.invocation import BY_PLAN, Invocation
from infra.model.origin import Origin
from infra.plan.plan import Plan
from infra.plan.selection import EVERYTHING, Selection
from infra.remote import parallel
from infra.state import config, releases
from infra.state.release_body import Stored
from infra.state.vouching import NOTHING, Known, seal, seal_settings
from tests.simulation import moments
from tests.simulation.faults import Fault, Killed, Kind
from tests.simulation.fleet import SimFleet, Strike
from tests.simulation.registry import SimRegistry
from tests.simulation.sections import SECTIONS
from tests.simulation.server import SimServer

APP = "shop"
REGISTRY = SimRegistry()
KILLED = 130


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, its report if anything was begun, its plan, and the error that ended it."""

    code: int
    report: Report | None = None
    plan: Plan | None = None
    error: BaseException | None = None
    events: tuple[Event, ...] = ()

    @property
    def said(self) -> str:
        """Every summary of a failure, or the error."""
        if self.report is None:
            return str(self.error or "")
        return "\n".join(f"{failure.summary} {failure.detail}" for failure in self.report.failures)


def _digest(*values: object) -> str:
    """Stands for the sha256 of the manifest's files: every edit changes it."""
    return hashlib.sha256(repr(values).encode()).hexdigest()


def manifest(
    *servers: str | Server,
    web: int = 2,
    slug: str = "a",
    env: Mapping[str, str] | None = None,
    worker: int = 0,
    router: Sequence[str] = (),
    schedule: bool = False,
    when: str = moments.DAILY,
    rollout: Rollout | None = None,
    app: str = APP,
    **keys: Any,
) -> Manifest:
    """A manifest as a value. Servers given by name have that name as their address."""
    named = [Server(server, server) if isinstance(server, str) else server for server in servers or ("s1", "s2")]
    dynos = {"web": DynoType("web", web)}
    if worker:
        dynos["worker"] = DynoType("worker", worker, command="work")
    return Manifest(
        file=Path("/nowhere/dyno.yaml"),
        app=App(app, Path(f"/{slug}")),
        servers=tuple(named),
        dynos=dynos,
        env=dict(env or {}),
        digest=_digest(servers, web, env, worker, router, schedule, when, rollout, keys),
        schedule=(Schedule("nightly", "sweep", ("*-*-* 03:00:00",), when),) if schedule else (),
        router=Routing("sim", tuple(router)) if router else None,
        rollout=rollout or Rollout(),
        **keys,
    )


_cached = lru_cache(maxsize=200)(server_facts.parse)
"""Most servers say the same in many observations, one after the other."""


def _parse(output: str, app: str, known: Mapping[str, str]) -> server_facts.Facts:
    return _cached(output, app)  # the records of a simulated fleet are short, so that none is known


@contextmanager
def in_order(numbers: Iterator[int]) -> Iterator[None]:
    """The engine works on one server at a time, in one thread, and what it makes up is the same in every run."""
    before, random, parse = parallel._limit, secrets.token_hex, server_facts.parse
    parallel.limit(1)
    secrets.token_hex = lambda size=32: hashlib.sha256(b"%d" % next(numbers)).hexdigest()[: 2 * (size or 32)]
    server_facts.parse = _parse
    try:
        yield
    finally:
        parallel.limit(before)
        secrets.token_hex, server_facts.parse = random, parse


class Simulation:
    """A fleet and the engine on it."""

    def __init__(self, *hosts: str, cores: int = 4) -> None:
        self.fleet = SimFleet()
        self.fleet.sections |= SECTIONS
        for host in hosts or ("s1", "s2"):
            self.fleet.add(host, cores=cores)
        self._numbers = itertools.count()
        self.origin: Origin | None = None
        self.hint: dict[str, Connections] = {}
        """What this computer remembers of its applies, by app."""
        self.remembers = True
        """Whether it is always the same computer, and not another one each time."""
        self.known = NOTHING
        """Digests of what was applied from this computer; kept if there is an ``origin``."""
        self.on_ready: Callable[[Prepared], None] = lambda _: None

    def __getitem__(self, host: str) -> SimServer:
        return self.fleet.servers[host]

    def fault(self, subject: str, kind: Kind, *, cut: int = 1, nth: int = 1, host: str = "") -> None:
        """Strike the ``nth`` exchange from now on whose subject begins with ``subject``."""
        self.fleet.strikes.append(Strike(Fault(kind, cut), subject, host, nth))

    def plan(self, wanted: Manifest, **options: Any) -> Prepared:
        request = Request(**{"origin": self.origin, "hint": dict(self.hint), "known": self.known, **options})
        # There is no such directory, so git need not be started to say that it is in no repository.
        with in_order(self._numbers), mock.patch("infra.engine.prepare.commit_of", return_value=""):
            return prepare(wanted, REGISTRY, request, connect=self.fleet.connect)

    def pending(self, wanted: Manifest, **options: Any) -> list[str]:
        """What a plan would do, as ``action address``; [] if nothing is to change."""
        ready = self.plan(wanted, **options)
        ready.fleet.close()
        errors = [error.summary for error in ready.plan.errors]
        outdated = ["records"] if not ready.plan.changes and ready.records_outdated() else []
        return [*errors, *(f"{change.action} {change.address}" for change in ready.plan.changes), *outdated]

    def apply(
        self,
        wanted: Manifest,
        *,
        selection: Selection = EVERYTHING,
        message: str = "",
        lock_timeout: float | None = None,
        began: float | None = None,
        invocation: Invocation = BY_PLAN,
        skip_unreachable: bool = False,
        before: Callable[[], None] = lambda: None,
        stop: Callable[[Event], bool] = lambda _: False,
        **options: Any,
    ) -> Outcome:
        """``dynoctl apply --auto-approve``. ``before`` is called between plan and apply; ``stop`` presses Ctrl-C."""
        chosen = ApplyOptions(message, "", lock_timeout, began, invocation)
        return self._run(
            lambda: self.plan(wanted, selection=selection, **options),
            lambda ready, listener: Applier(ready, listener, chosen, self.fleet.clock),
            skip_unreachable,
            before,
            stop,
        )

    def destroy(self, wanted: Manifest, **options: Any) -> Outcome:
        return self.apply(wanted, destroy=True, **options)

    def rollback(self, wanted: Manifest, name: str | None = None, **options: Any) -> Outcome:
        """``dynoctl rollback``: to a release by its name, or to the last good one."""

        def plan() -> Prepared:
            trust = options.get("trust", frozenset())
            return self.plan(wanted, stored=self.stored(wanted, name, trust), **options)

        return self._run(plan, lambda ready, listener: Applier(ready, listener, clock=self.fleet.clock))

    def stored(self, wanted: Manifest, name: str | None = None, trust: frozenset[str] = frozenset()) -> Stored:
        with in_order(self._numbers), mock.patch("infra.fleet.ask.Session", self.fleet.connect):
            trusted = releases.Trust(self.known, trust)
            return releases.stored(APP, name, targets(wanted), REGISTRY.fits, {}, trusted)[0]

    def running(self, wanted: Manifest) -> Stored | None:
        """The release that ``dynoctl scale`` starts more dynos from."""
        with in_order(self._numbers), mock.patch("infra.fleet.ask.Session", self.fleet.connect):
            found = releases.running(APP, targets(wanted), REGISTRY.fits, {}, releases.Trust(self.known))
        return None if found is None else found[0]

    def restart(self, wanted: Manifest, *names: str, lock_timeout: float | None = None, **options: Any) -> Outcome:
        """``dynoctl restart``."""

        def plan() -> Prepared:
            with in_order(self._numbers):
                return restarting.prepare(wanted, REGISTRY, names, connect=self.fleet.connect)

        def make(ready: Prepared, listener: Listener) -> Restarter:
            return Restarter(ready, listener, lock_timeout, self.fleet.clock)

        return self._run(plan, make, restart=True, **options)

    def _run(
        self,
        plan: Callable[[], Prepared],
        make: Callable[[Prepared, Callable[[Event], None]], Any],
        skip_unreachable: bool = False,
        before: Callable[[], None] = lambda: None,
        stop: Callable[[Event], bool] = lambda _: False,
        *,
        restart: bool = False,
    ) -> Outcome:
        events: list[Event] = []
        report = ready = None
        try:
            ready = plan()
            self.on_ready(ready)
            before()
            due = bool(ready.plan.changes) or (bool(ready.request.forget) and not ready.plan.errors)
            if ready.plan.errors or not (due or (not restart and ready.records_outdated())):
                code = exit_code(ready.plan, detailed=False, skip_unreachable=skip_unreachable)
                return Outcome(code, None, ready.plan)

            def listen(event: Event) -> None:
                events.append(event)
                if stop(event):
                    applier.stop.set()

            applier = make(ready, listen)
            with in_order(self._numbers):
                report = applier.run()
            if not restart:
                self._remember(ready, report)
            code = _restart_code(ready, report) if restart else _code(ready, report, skip_unreachable)
            return Outcome(code, report, ready.plan, None, tuple(events))
        except Killed as killed:
            return Outcome(KILLED, report, ready.plan if ready else None, killed, tuple(events))
        except DynoctlError as error:
            return Outcome(error.exit_code, None, ready.plan if ready else None, error, tuple(events))
        finally:
            if ready is not None:
                ready.fleet.close()
            self.fleet.restart_controller()

    def _remember(self, ready: Prepared, report: Report) -> None:
        """As ``infra.cli.session.remember`` does, in memory."""
        app = ready.manifest.app.name
        if self.remembers:
            self.hint[app] = remembering.servers(ready, ended=report.ok)
        if self.remembers and not self.hint[app]:
            self.hint.pop(app)
        if self.remembers and not ready.destroy and report.ok and self.origin is not None:
            applied = ready.plan.release
            self.known = Known(
                self.known.releases | ({seal(applied)} if applied is not None else set()),
                self.known.settings | {seal_settings(config.document(ready.manifest))},
            )


def _restart_code(ready: Prepared, report: Report) -> int:
    """As ``infra.cli.restart`` chooses it."""
    if any(failure.unreachable for failure in report.failures):
        return UNREACHABLE
    if not report.ok:
        return REJECTED if report.halted else ERROR
    return UNREACHABLE if ready.plan.unreachable else OK
