"""A plan as JSON, format version 1. No secret's value is in it."""

from __future__ import annotations

from infra.plan import Plan
from infra.resource import Change
from infra.views.attributes import differences, plain

FORMAT_VERSION = 1


def document(plan: Plan, round_trips: dict[str, int]) -> dict[str, object]:
    """The plan as JSON values. A sensitive value is ``{"sensitive": true}``; one that stayed on its server is
    ``{"hidden": true}``."""
    effects = list(plan.effects().values())
    return {
        "format_version": FORMAT_VERSION,
        "app": plan.app,
        "changes": [
            {
                "address": change.address,
                "server": change.resource.server,
                "kind": change.resource.kind,
                "name": change.resource.name,
                "dyno": change.resource.dyno,
                "action": change.action,
                "effect": change.effect,
                "drift": change.drift,
                "reason": change.reason,
                "before": plain(change.before),
                "after": plain(change.after),
                "differs": _differs(change),
            }
            for change in plan.changes
        ],
        "placement": {"before": dict(plan.formation.before), "after": dict(plan.formation.homes)},
        "batches": [list(batch) for batch in plan.batches],
        "capacity": [{type_: list(counts) for type_, counts in one.items()} for one in plan.capacity()],
        "release": None if plan.release is None else plan.release.number,
        "new_release": plan.fresh,
        "rollback_to": 0 if plan.release is None else plan.release.of,
        "notes": list(plan.notes),
        "candidates": list(plan.candidates),
        "release_on": plan.release_on,
        "build": list(plan.build),
        "builder": plan.builder,
        "leaving": list(plan.leaving),
        "unreachable": {server: error.summary for server, error in plan.unreachable.items()},
        "errors": [error.as_json() for error in plan.errors],
        "summary": {
            **plan.counts(),
            "start": effects.count("start"),
            "restart": effects.count("restart"),
            "stop": effects.count("stop"),
        },
        "fingerprint": plan.fingerprint,
        "round_trips": round_trips,
    }


def _differs(change: Change) -> list[str]:
    """The dotted names of the attributes that change; of a hidden value nothing else would tell."""
    if change.before is None or change.after is None:
        return []
    return [name for name, _, _ in differences(change.before, change.after)]
