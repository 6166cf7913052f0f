"""Scale, evacuate and roll back as the command line does: with the release and the settings that are in force."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

from infra.engine import running
from infra.engine.prepare import prepare
from infra.engine.prepared import Prepared, Request
from infra.fleet.inventory import targets
from infra.manifest.model import Manifest
from infra.state import releases
from tests.simulation.harness import APP, REGISTRY, Outcome, Simulation, in_order

Make = Callable[[Request, releases.Trust], tuple[Manifest, Request]]


def act(fleet: Simulation, tree: Manifest, counts: Mapping[str, int] | None = None, **asked: Any) -> Outcome:
    """As ``infra.cli.session`` prepares ``scale`` and ``--evacuate``."""

    def make(request: Request, trust: releases.Trust) -> tuple[Manifest, Request]:
        found = releases.running(APP, targets(tree), REGISTRY.fits, {}, trust)
        if found is None:
            return tree, request
        return running.request(tree, running.Running(*found), REGISTRY, request, counts or {})

    return _apply(fleet, tree, make, asked)


def go_back(fleet: Simulation, tree: Manifest, name: str | None = None, **asked: Any) -> Outcome:
    """As ``infra.cli.session`` prepares ``rollback``."""

    def make(request: Request, trust: releases.Trust) -> tuple[Manifest, Request]:
        return running.rollback(tree, *releases.stored(APP, name, targets(tree), REGISTRY.fits, {}, trust), request)

    return _apply(fleet, tree, make, asked)


def _apply(fleet: Simulation, tree: Manifest, make: Make, asked: Mapping[str, Any]) -> Outcome:
    def plan(_: Manifest, **options: Any) -> Prepared:
        request = Request(**{"origin": fleet.origin, "hint": dict(fleet.hint), "known": fleet.known, **asked})
        with in_order(fleet._numbers):
            with mock.patch("infra.fleet.ask.Session", fleet.fleet.connect):
                model, request = make(request, releases.Trust(fleet.known, request.trust))
            return prepare(model, REGISTRY, request, connect=fleet.fleet.connect)

    with mock.patch.object(fleet, "plan", plan):
        return fleet.apply(tree)
