"""Other people on the same servers: who applies another app in between, and who rolled back and relies on it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from infra.engine.prepared import StalePlan
from infra.errors import OK
from infra.manifest.model import Router, Server
from tests.simulation.harness import Outcome, manifest
from tests.simulation.invariants import is_ours, release_of, snapshot
from tests.simulation.wanted import HOSTS, Run

if TYPE_CHECKING:
    from tests.simulation.world import World

NEIGHBOUR = "blog"
"""Another app of the same servers, which is applied now and then."""


def check_rollback(world: World, run: Run, outcome: Outcome, *, known: bool) -> None:
    """Nothing but a decision brings back what was rolled back from."""
    before, wanted = world.watch.before.running, release_of(world.wanted)
    ours = {release for (_, unit), release in before.items() if is_ours(unit)}
    if run.command in ("rollback", "roll back as running"):
        # One to a release that runs the same as now goes on with that.
        back = outcome.plan is not None and outcome.plan.release is not None and outcome.plan.release.of > 0
        well = back and outcome.code == OK and outcome.report is not None and ours == {wanted}
        world.rolled_back = world.wanted if well else None
    elif run.command in ("over", "destroy") or (outcome.report is not None and world.wanted != world.rolled_back):
        world.rolled_back = None
    elif world.rolled_back is not None and known:
        now = snapshot(world.fleet).running
        back = [place for place, release in now.items() if release == wanted and is_ours(place[1])]
        assert all(before.get(place) == wanted for place in back), f"{run.command} undid a rollback: {back}"


def check_stale(world: World, run: Run, outcome: Outcome) -> None:
    """Another app that came in between makes a plan stale only if it is another plan now."""
    if outcome.plan is None or not isinstance(outcome.error, StalePlan):
        return
    ready = world.simulation.plan(world.wanted.manifest(), over_rollback=run.command == "over")
    ready.fleet.close()
    assert not ready.plan.does_the_same(outcome.plan), f"{run.command} was refused for another app: {outcome.error}"


def apply_neighbour(world: World) -> None:
    """Another app is applied to the servers that answer."""
    fleet, simulation, world.neighbours = world.fleet, world.simulation, world.neighbours + 1
    where = dict(world.wanted.addresses)
    servers = [Server(name, where.get(name, name)) for name in HOSTS if world.called(name).up]
    faults, count, ready = fleet.faults, fleet.count, simulation.on_ready
    fleet.faults, simulation.on_ready = {}, lambda _: None
    if servers:
        plain = manifest(*servers, app=NEIGHBOUR, web=world.neighbours % 4)
        simulation.apply(replace(plain, router=Router("sim", (servers[0].name,), hosts=(NEIGHBOUR,))))
    simulation.on_ready = ready
    fleet.faults = {number + fleet.count - count: fault for number, fault in faults.items()}
