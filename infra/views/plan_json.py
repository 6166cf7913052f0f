"""A plan as JSON, format version 1. It never holds the value of a secret."""

from __future__ import annotations

from dataclasses import asdict

from infra.model.resource import Change
from infra.plan.plan import Plan
from infra.views import under_way
from infra.views.attributes import differences, plain

FORMAT_VERSION = 1


def document(plan: Plan, round_trips: dict[str, int]) -> dict[str, object]:
    """The plan as JSON values. A sensitive value is ``{"sensitive": true}``, and a value that stayed on its server is
    ``{"hidden": true}``."""
    return {
        "format_version": FORMAT_VERSION,
        "app": plan.app,
        "changes": [change(item) for item in plan.changes],
        "placement": {"before": dict(plan.formation.before), "after": dict(plan.formation.homes)},
        "batches": [list(batch) for batch in plan.batches],
        "capacity": [{type_: list(counts) for type_, counts in left.items()} for left in plan.capacity()],
        "waves": [{"value": value, "batches": count} for value, count in plan.waves],
        "canary": plan.canary,
        "release": None if plan.release is None else plan.release.number,
        "new_release": plan.fresh,
        "running_release": None if plan.running is None else plan.running.number,
        "source": None if plan.source is None else asdict(plan.source),
        "rollback_to": 0 if plan.release is None else plan.release.of,
        "notes": list(plan.notes),
        "checks": [asdict(check) for check in plan.checks],
        "exposure": {type_: {"before": was, "after": will} for type_, (was, will) in plan.exposure.items()},
        "candidates": list(plan.candidates),
        "release_on": plan.release_on,
        "build": list(plan.build),
        "builder": plan.builder,
        "left_out": plan.left_out,
        "idle": sorted(plan.idle),
        "leaving": list(plan.leaving),
        "unreachable": {server: error.summary for server, error in plan.unreachable.items()},
        "evacuated": list(plan.evacuated),
        "held": None if plan.held is None else asdict(plan.held),
        "options": list(plan.options),
        "applying": under_way.document(plan.applying),
        "errors": [error.as_json() for error in plan.errors],
        "summary": plan.counts(),
        "fingerprint": plan.fingerprint,
        "round_trips": round_trips,
    }


def change(item: Change) -> dict[str, object]:
    """A change as JSON values. ``differs`` holds the dotted names of attributes that change, hidden ones too."""
    return {
        "address": item.address,
        "server": item.resource.server,
        "kind": item.resource.kind,
        "name": item.resource.name,
        "dyno": item.resource.dyno,
        "action": item.action,
        "effect": item.effect,
        "drift": item.drift,
        "drifted": list(item.drifted),
        "reason": item.reason,
        "before": plain(item.before),
        "after": plain(item.after),
        "differs": _differs(item),
    }


def _differs(change: Change) -> list[str]:
    if change.before is None or change.after is None:
        return []
    return [name for name, _, _ in differences(change.before, change.after)]
