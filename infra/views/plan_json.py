"""A plan as JSON, format version 1. It never holds the value of a secret."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from types import MappingProxyType

from infra.model.formation import CORE
from infra.model.resource import Change
from infra.plan.overview import ServerOverview
from infra.plan.plan import Plan
from infra.views import json_text, under_way
from infra.views.attributes import differences, plain

FORMAT_VERSION = 1

RUNNING = ("number", "commit", "message", "who", "when")
"""What is said of the release that runs."""


def document(plan: Plan, round_trips: dict[str, int]) -> dict[str, object]:
    """The plan as JSON values. A sensitive value is ``{"sensitive": true}``, and a value that stayed on its server is
    ``{"hidden": true}``."""
    return _around(plan, round_trips) | {"changes": [change(item) for item in plan.changes]}


def chunks(plan: Plan, round_trips: dict[str, int], more: Mapping[str, object] = MappingProxyType({})) -> Iterator[str]:
    """The JSON text of the document, and of ``more`` keys behind it, in parts."""
    return json_text.chunks({**_around(plan, round_trips), **more}, "changes", map(change, plan.changes))


def line_chunks(values: Mapping[str, object], plan: Plan, round_trips: dict[str, int]) -> Iterator[str]:
    """The JSON text of ``values`` and the document as ``plan``, in one line, in parts."""
    document = {**values, "plan": _around(plan, round_trips)}
    return json_text.chunks(document, "changes", map(change, plan.changes), indent=None)


def _around(plan: Plan, round_trips: dict[str, int]) -> dict[str, object]:
    """The document without the changes."""
    return {
        "format_version": FORMAT_VERSION,
        "app": plan.app,
        "changes": [],
        "placement": {"before": dict(plan.formation.before), "after": dict(plan.formation.homes)},
        "fleet": {name: _server(server) for name, server in plan.fleet.items()},
        "batches": [list(batch) for batch in plan.batches],
        "capacity": [{type_: list(counts) for type_, counts in left.items()} for left in plan.capacity()],
        "waves": [{"value": value, "batches": count} for value, count in plan.waves],
        "canary": plan.canary,
        "release": None if plan.release is None else plan.release.number,
        "new_release": plan.fresh,
        "running_release": None if plan.running is None else plan.running.number,
        "running": None if plan.running is None else {name: getattr(plan.running, name) for name in RUNNING},
        "commit": plan.commit,
        "source": None if plan.source is None else asdict(plan.source),
        "rollback_to": 0 if plan.release is None else plan.release.of,
        "notes": list(plan.notes),
        "checks": [asdict(check) for check in plan.checks],
        "exposure": {type_: {"before": was, "after": will} for type_, (was, will) in plan.exposure.items()},
        "candidates": list(plan.candidates),
        "release_on": plan.release_on,
        "build": list(plan.build),
        "builder": plan.builder,
        "delivery": plan.delivery,
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
        "fingerprint": plan.fingerprint(),
        "round_trips": round_trips,
    }


def digest(document: Mapping[str, object]) -> str:
    """The sha256 of a plan's document in hex, by which a page and a saved plan are known to be the same plan."""
    values = {name: value for name, value in document.items() if name != "round_trips"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _server(server: ServerOverview) -> dict[str, object]:
    free = None if server.free is None else server.free / CORE
    values = {**asdict(server), "free": free, "overcommit": server.per_core / CORE}
    del values["per_core"]
    return values


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
