"""Where the dynos are after an apply that did not do all of its plan, and what is left of those that it removes."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from dataclasses import replace

from infra.fleet.observe import Observed
from infra.model.resource import Change
from infra.plan.plan import Plan


def homes(plan: Plan, now: Mapping[str, Observed], recorded: Container[str]) -> dict[str, str]:
    """The homes of the dynos of a plan that was not done completely. ``now`` is what servers have; on others, a dyno
    may be where the plan put it. What was never started has none, unless the records had it before (``recorded``), and
    what did not move is where it was."""
    known = {}
    for dyno, home in plan.formation.homes.items():
        before = plan.formation.before.get(dyno)
        if home not in now or dyno in now[home].facts.dynos(plan.app):
            known[dyno] = home
        elif before is not None and before in now and dyno in now[before].facts.dynos(plan.app):
            known[dyno] = before
        elif before is not None or dyno in recorded:
            known[dyno] = home
    return known


def without_removed(found: Mapping[str, Observed], changes: Collection[Change]) -> dict[str, Observed]:
    """What was found, without the dynos that these changes, which were made, removed."""
    removed = {(change.resource.server, change.resource.dyno) for change in changes if change.action.removes}
    remaining = {}
    for name, observed in found.items():
        facts = observed.facts
        marks = tuple(mark for mark in facts.marks if (name, mark.dyno) not in removed)
        held = {dyno: port for dyno, port in facts.held.items() if (name, dyno) not in removed}
        remaining[name] = replace(observed, facts=replace(facts, marks=marks, held=held))
    return remaining
