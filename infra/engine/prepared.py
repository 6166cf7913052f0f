"""The request, what was found, and the plan: everything that an apply needs, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infra.engine.other_manifests import is_recorded
from infra.errors import Diagnostic, DynoctlError
from infra.fleet.identity import Connections
from infra.fleet.observe import Fleet, Observer
from infra.manifest.model import Manifest
from infra.model import release
from infra.model.origin import Origin
from infra.model.provider import Scope
from infra.model.resource import Resource
from infra.model.stack import Registry, Slug, Stack
from infra.plan.plan import Plan
from infra.plan.selection import EVERYTHING, Selection
from infra.state import records
from infra.state.release_body import Stored
from infra.state.vouching import NOTHING, Known


class StalePlan(DynoctlError):
    """A server changed after the plan was made. ``waited``: while another apply on it was waited for."""

    waited = False


@dataclass(frozen=True)
class Request:
    """The options of the user, in addition to the manifest.

    ``forget`` are lost servers that are no longer in the manifest, or any lost servers of a destroy; ``evacuate`` are
    lost servers in the manifest, whose dynos start on other servers; with ``force``, they may be servers that are up.
    ``stored`` is the release to roll back to. With ``rated``, a server rates the exposure of the units that change.
    With ``end_runs``, a destroy ends the one-off dynos that are under way. ``origin`` is where the manifest comes from;
    with ``take_over``, another one may have been applied last. ``hint`` are the servers to which it was applied last
    from here, by app. With ``over_rollback``, what was rolled back from is released again. With ``running``,
    ``stored`` is the release that runs, to be gone on with, and ``left_out`` what the manifest would change besides.
    ``edited`` are the sha256 of the manifest before and after the command itself edited it. ``known`` are digests of
    what was applied from here, and ``trust`` the servers whose records are taken for true. ``as_of`` is the serial of
    the newest record that the request was made from, if it was made from one."""

    destroy: bool = False
    forget: frozenset[str] = frozenset()
    evacuate: frozenset[str] = frozenset()
    stored: Stored | None = None
    selection: Selection = EVERYTHING
    rated: bool = False
    end_runs: bool = False
    force: bool = False
    origin: Origin | None = None
    take_over: bool = False
    hint: Mapping[str, Connections] = field(default_factory=dict)
    over_rollback: bool = False
    running: bool = False
    left_out: tuple[str, ...] = ()
    edited: tuple[str, str] | None = None
    known: Known = NOTHING
    trust: frozenset[str] = frozenset()
    as_of: int | None = None
    rebalance: bool = False
    """Whether dynos move until the placement is even."""
    untrusted: bool = False
    """Whether the manifest is a stranger's: no secret of it is read."""
    drift: bool = False
    """Whether only what was changed by hand is looked for. Nothing is to be applied, so no check of the manifest
    counts."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs of a plan. Close the fleet when done.

    ``leaving`` are servers that left the manifest and may still run the app; ``forgotten`` are the machine-ids of lost
    servers, ``problems`` the errors of servers and manifests that may be taken for others, and ``remarks`` the notes of
    what cannot be seen. ``body`` is the body of the desired
    release, secrets included, by ``infra.state.release_body``."""

    manifest: Manifest
    registry: Registry
    request: Request
    scope: Scope
    observer: Observer
    stack: Stack
    slug: Slug | None
    fleet: Fleet
    leaving: tuple[str, ...] = ()
    forgotten: frozenset[str] = frozenset()
    problems: tuple[Diagnostic, ...] = ()
    remarks: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    """The notes of servers that only this computer knows of and that are unreachable."""
    body: str = ""
    blocking: Mapping[str, Sequence[Resource]] = field(default_factory=dict)
    """By server, the upgrades without which its packages cannot be installed."""

    @property
    def destroy(self) -> bool:
        return self.request.destroy

    @property
    def stored(self) -> Stored | None:
        return self.request.stored


@dataclass(frozen=True, kw_only=True)
class Prepared(Inputs):
    """A plan with everything that apply needs to carry it out."""

    plan: Plan

    @property
    def left(self) -> frozenset[str]:
        """The servers that left the manifest and have no dynos after the plan: there may be no capacity elsewhere."""
        return frozenset(self.leaving) - {*self.plan.formation.homes.values()}

    @property
    def doing(self) -> str:
        """What its apply does, to be told to others, such as ``applying v2``."""
        if self.destroy:
            return "destroying the app"
        if self.stored is not None and not self.request.running:
            return f"rolling back to v{self.stored.number}"
        return "applying" if self.plan.release is None else f"applying v{self.plan.release.number}"

    @property
    def emptied(self) -> frozenset[str]:
        """The draining servers without dynos and routers after the plan. Everything of the app is removed from them,
        records included, as long as other servers have records."""
        idle = {server.name for server in self.manifest.servers if server.drain} & set(self.fleet.found)
        idle -= {*self.plan.formation.homes.values(), *(self.manifest.router.servers if self.manifest.router else ())}
        return frozenset(idle) if set(self.fleet.found) - idle - set(self.leaving) else frozenset()

    def records_outdated(self) -> bool:
        """Whether the records of a server must be updated although the plan changes nothing on it."""
        if self.destroy:
            return not self.fleet.unreachable and any(observed.facts.recorded for observed in self.fleet.found.values())
        planned, found = self.plan.release, self.fleet.found
        staying = found.keys() - {*self.leaving, *self.emptied}
        app, origin = self.manifest.app.name, self.request.origin
        if origin is not None and not all(is_recorded(app, origin, found[name].facts) for name in staying):
            return True
        # They were left by an interrupted apply, and no change of this plan removes them.
        if any(records.orphaned(self.plan, name, observed) for name, observed in found.items()):
            return True
        leftovers = any(
            observed.facts.backups or records.TRIAL in observed.facts.pending for observed in found.values()
        )
        if leftovers and not self.plan.left_out:
            return True
        to_empty = ((self.emptied | self.left) & found.keys()) - self.plan.left_on - self.plan.busy
        if any(found[name].facts.recorded for name in to_empty) and not self.plan.left_out:
            return True
        if planned is not None and not (self.plan.unreachable or self.plan.changes or self.plan.left_out):
            # The release is unfinished, or a server was unreachable when it ended and has no record of it.
            knowing = [name for name, observed in found.items() if planned in observed.facts.releases]
            if planned.result != release.OK or {*knowing, *self.left, *self.emptied} < set(found):
                return True
        return records.outdated(self.manifest, self.plan, found)
