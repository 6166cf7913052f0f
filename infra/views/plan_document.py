"""The way back from a plan's JSON to a plan, for whoever shows a saved one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.errors import Diagnostic, DynoctlError, Unreachable
from infra.model.formation import Formation
from infra.model.release import Release
from infra.model.resource import Action, Attribute, Attributes, Change, Effect, Fingerprint, Resource
from infra.plan.plan import Check, Plan
from infra.sensitive import Sensitive
from infra.views.attributes import flat


def plan(document: Mapping[str, Any]) -> Plan:
    """A plan to be shown; secrets in it are empty. Raises DynoctlError where the document is none."""
    try:
        return _plan(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise DynoctlError(f"The plan is damaged: {why}", "Make it anew: dynoctl plan --out FILE") from None


def _plan(document: Mapping[str, Any]) -> Plan:
    placement = document["placement"]
    number = document["release"]
    errors = [
        Diagnostic(str(one["summary"]), hint=str(one["hint"]), expected=str(one["expected"]))
        for one in document["errors"]
    ]
    return Plan(
        app=str(document["app"]),
        changes=tuple(_change(one) for one in document["changes"]),
        formation=Formation((), dict(placement["after"]), dict(placement["before"])),
        batches=tuple(tuple(batch) for batch in document["batches"]),
        unreachable={name: Unreachable(str(why)) for name, why in document["unreachable"].items()},
        leaving=tuple(document["leaving"]),
        errors=tuple(errors),
        notes=tuple(document["notes"]),
        fingerprint=str(document["fingerprint"]),
        candidates=tuple(document["candidates"]),
        release_on=document["release_on"],
        release=None if number is None else Release(int(number), "", "", "", of=int(document["rollback_to"])),
        fresh=bool(document["new_release"]),
        build=tuple(document["build"]),
        builder=document["builder"],
        checks=tuple(Check(**one) for one in document.get("checks", ())),
        exposure={type_: (one["before"], one["after"]) for type_, one in document.get("exposure", {}).items()},
        left_out=int(document.get("left_out", 0)),
        idle=frozenset(document.get("idle", ())),
        evacuated=tuple(document.get("evacuated", ())),
    )


def _change(one: Mapping[str, Any]) -> Change:
    before, after = _attributes(one["before"]), _attributes(one["after"])
    if before is not None and after is not None:
        before = _same_but(before, after, set(one["differs"]))
    resource = Resource(one["server"], one["kind"], one["name"], after or before or {}, one["dyno"])
    drifted = tuple(one.get("drifted", ()))
    return Change(
        resource,
        Action(one["action"]),
        before,
        after,
        one["reason"],
        bool(one["drift"]),
        drifted,
        None if one["effect"] is None else Effect(one["effect"]),
    )


def _attributes(values: Mapping[str, Any] | None) -> Attributes | None:
    return None if values is None else {name: _attribute(value) for name, value in values.items()}


def _attribute(value: Any) -> Attribute:
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, dict):
        return value  # type: ignore[no-any-return]  # what JSON holds beside these is a scalar
    if value == {"sensitive": True}:
        return Sensitive("")
    if value == {"hidden": True}:
        return Fingerprint("", "", str)
    return {name: _attribute(item) for name, item in value.items()}  # type: ignore[misc]  # one level deep


def _same_but(before: Attributes, after: Attributes, differs: set[str]) -> Attributes:
    """What was, with what is to be wherever that is the same: of a value that stayed on its server the document does
    not tell."""
    has = flat(after)
    found: dict[str, Any] = {}
    for name, value in before.items():
        if isinstance(value, Mapping):
            found[name] = {
                key: item if f"{name}.{key}" in differs or f"{name}.{key}" not in has else has[f"{name}.{key}"]
                for key, item in value.items()
            }
        else:
            found[name] = value if name in differs or name not in has else after[name]
    return found
