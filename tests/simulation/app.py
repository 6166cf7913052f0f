"""An app that is up on a simulated fleet, and what its dynos run: what most tests begin with and end on."""

from __future__ import annotations

from infra.errors import OK
from infra.model.events import Report
from tests.simulation.harness import Outcome, Simulation, manifest
from tests.simulation.registry import digest
from tests.simulation.server import SimServer

BAD = digest("/bad")
"""A slug that a test may call bad."""


def deployed(*hosts: str, **keys: object) -> Simulation:
    """A fleet on which the app is up."""
    fleet = Simulation(*(hosts or ("s1", "s2")))
    outcome = fleet.apply(manifest(*(hosts or ("s1", "s2")), **keys))
    assert outcome.code == OK, outcome.said
    return fleet


def report(outcome: Outcome) -> Report:
    assert outcome.report is not None, outcome.error
    return outcome.report


def slugs(server: SimServer) -> dict[str, str]:
    """What each dyno of a server runs, by the name of its slug."""
    names = {digest(f"/{name}"): name for name in ("a", "b", "c", "bad")}
    return {process.dyno: names[process.release.slug] for process in server.processes.values()}


def running(fleet: Simulation) -> dict[str, str]:
    return {dyno: slug for server in fleet.fleet.servers.values() for dyno, slug in slugs(server).items()}
