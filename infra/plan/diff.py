"""Compare the desired with the observed resources of one server, and tell drift from change by the last record."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import unquote

from infra.errors import Diagnostic
from infra.fleet.observe import Observed
from infra.manifest.urls import is_secret
from infra.model.provider import Provider
from infra.model.resource import (
    PLAIN,
    Action,
    Attribute,
    Attributes,
    Change,
    Fingerprint,
    Found,
    Resource,
    Scalar,
    same,
)
from infra.sensitive import Sensitive

INTERRUPTED = "an earlier apply was interrupted before the restart"
BEING_APPLIED = "the apply that is running has not restarted it yet"
"""The reasons of a restart that is due although nothing of the dyno differs any more."""

RECORDED_AS_PLAIN = "recorded as no secret: {}"
"""The reason of an update of a resource in which nothing differs."""

_ORDINARY = frozenset((str, bool, int, type(None)))
"""The types of values that are no secret."""


def diff(
    server: str,
    desired: Sequence[Resource],
    observed: Observed,
    providers: Mapping[str, Provider],
    kept: Container[str] = (),
    restarts: Callable[[Sequence[Resource], Mapping[str, Found]], Sequence[Change]] = lambda *_: (),
) -> tuple[list[Change], list[Diagnostic]]:
    """The changes from ``observed`` to ``desired``, in no particular order, and the conflicts that prevent them.

    ``kept`` are the keys of resources that are kept although they are no longer desired. ``restarts`` returns the
    restarts that the user requested. What changes and does not restart for that restarts as well."""
    changes: list[Change] = []
    errors: list[Diagnostic] = []
    record = observed.facts.record
    wanted = {resource.key: resource for resource in desired}
    for key, resource in wanted.items():
        found = observed.resources.get(key)
        if found is not None and not found.managed and key not in record:
            errors.append(_foreign(resource, found))
            continue
        damaged = found is not None and found.damaged
        attributes = None if found is None or damaged else found.attributes
        implicit: Mapping[str, Any] | None = {"attributes": {}} if found is not None and found.implicit else None
        change = _compare(
            resource,
            attributes,
            partial(record.get, key, implicit),
            resource.dyno in observed.facts.pending,
            () if attributes is None else providers[resource.kind].spontaneous(attributes),
        )
        if change is not None:
            changes.append(replace(change, reason="damaged on the server") if damaged else change)
    changed = {change.resource.key for change in changes}
    pulling = {change.resource.key for change in changes if providers[change.resource.kind].triggers(change)}
    # The last resource of a dyno is the one that runs it.
    runs = {resource.dyno: key for key, resource in wanted.items()}
    due: dict[str, Change] = {}
    for key, resource in wanted.items():
        causes = [trigger for trigger in resource.triggers if trigger in pulling]
        cut_off = resource.dyno in observed.facts.pending and runs[resource.dyno] == key
        if (causes or cut_off) and key in observed.resources:
            reasons = [f"{', '.join(causes)} {'change' if len(causes) > 1 else 'changes'}"] if causes else []
            reasons += [INTERRUPTED] if cut_off else []
            before = observed.resources[key].attributes
            due[key] = Change(resource, Action.RESTART, before, resource.attributes, "; ".join(reasons))
    requested = {change.resource.key: change for change in restarts(desired, observed.resources)}
    due = {**requested, **due}
    changes = [_also_restarted(change, due.get(change.resource.key), providers) for change in changes]
    changes += [change for key, change in due.items() if key not in changed]
    settled = [one for key, one in wanted.items() if one.dyno in observed.facts.pending and key not in changed]
    changes = [
        _with_settled(change, settled) if runs.get(change.resource.dyno) == change.resource.key else change
        for change in changes
    ]
    for key, found in observed.resources.items():
        stays = found.kept or (key in kept and not found.damaged)
        if key in wanted or stays or (not found.managed and key not in record):
            continue
        kind, _, name = key.partition(".")
        dyno = _dyno_of(name)
        resource = Resource(server, kind, name, found.attributes, dyno, follows=providers[kind].last)
        changes.append(Change(resource, Action.DELETE, found.attributes, None, found.reason))
    return [_with_effect(change, providers) for change in changes], errors


def _foreign(resource: Resource, found: Found) -> Diagnostic:
    if found.blocked:
        hint = "choose another name, or remove it from the manifest and apply first"
        return Diagnostic(f"{resource.address} cannot be created: {found.blocked}", hint=hint)
    hint = "rename the app, or remove the resource from the server by hand"
    return Diagnostic(f"{resource.address} already exists and was not created by dynoctl", hint=hint)


def _dyno_of(name: str) -> str | None:
    """``web.1`` for ``shop-web.1``: app names have no dots, so the dyno is what follows the last dash."""
    dyno = name.rpartition("-")[2]
    return dyno if "." in dyno and not name.startswith("/") else None


def _also_restarted(change: Change, restart: Change | None, providers: Mapping[str, Provider]) -> Change:
    """A change, and the restart that is due besides: what a running dyno takes over as it is does not restart it."""
    if restart is None or providers[change.resource.kind].effect(change) is not None:
        return change
    reason = "; ".join(reason for reason in (change.reason, restart.reason) if reason)
    return replace(change, triggered=True, reason=reason)


def _with_settled(change: Change, settled: Sequence[Resource]) -> Change:
    """The change that completes a dyno after an interrupted apply, with what that apply had already made of it."""
    own = [one for one in settled if one.dyno == change.resource.dyno and one.key != change.resource.key]
    made = tuple(Change(one, Action.UPDATE, one.attributes, one.attributes) for one in own)
    return replace(change, settled=made) if made else change


def _with_effect(change: Change, providers: Mapping[str, Provider]) -> Change:
    effect = providers[change.resource.kind].effect(change)
    return replace(change, effect=effect)


def _compare(
    resource: Resource,
    found: Attributes | None,
    recorded: Callable[[], Mapping[str, Any] | None],
    pending: bool,
    spontaneous: Collection[str],
) -> Change | None:
    """``recorded`` is what was applied last, which is read only if something differs."""
    wanted = resource.attributes
    if found is None:
        removed = recorded() is not None
        reason = "removed from the server since the last apply" if removed else ""
        return Change(resource, Action.CREATE, None, wanted, reason, drift=removed)
    unequal = [name for name, value in wanted.items() if value != found.get(name)]  # most are equal
    differing = [name for name in unequal if not same(wanted[name], found.get(name))]
    if not differing:
        secret = _recorded_as_plain(wanted, recorded)
        return Change(resource, Action.UPDATE, found, wanted, RECORDED_AS_PLAIN.format(secret)) if secret else None
    record = recorded()
    applied = (record or {}).get("attributes", {})
    drifted = [
        name
        for name in differing
        if record is not None
        and not pending
        and name not in spontaneous
        and _drifted(found.get(name), applied.get(name))
    ]
    reasons = [f"changed on the server since the last apply: {', '.join(drifted)}"] if drifted else []
    reasons += [
        f"{resource.dyno or resource.key}: {name} is {found.get(name)}" for name in differing if name in spontaneous
    ]
    reason, plain = "; ".join(reasons), applied.get(PLAIN)
    names = tuple(path for name in drifted for path in _names(name, found.get(name), applied.get(name)))
    told = {name: _with_known(value, wanted.get(name), applied.get(name), plain) for name, value in found.items()}
    return Change(resource, Action.UPDATE, told, wanted, reason, drift=bool(drifted), drifted=names)


def _recorded_as_plain(wanted: Attributes, recorded: Callable[[], Mapping[str, Any] | None]) -> str:
    """The names of values that are secrets now, although a record has them as plain ones. Without an update, it would
    keep them, and a later plan would show them."""
    names = [
        name
        for value in wanted.values()
        if isinstance(value, Mapping) and not _ORDINARY.issuperset(map(type, value.values()))  # nearly all
        for name, text in value.items()
        if isinstance(text, Sensitive)
    ]
    plain = ((recorded() or {}).get("attributes", {}).get(PLAIN) if names else None) or {}
    return ", ".join(sorted(name for name in names if isinstance(plain, Mapping) and name in plain))


def _with_known(found: Attribute, wanted: object, applied: object, plain: object) -> Attribute:
    """An attribute that was found, with the values that are known without being read: those that the last apply
    recorded as ``plain``, if they are still there. What was secret then or is secret now stays so, and so does a text
    with a secret in it that has got a variable of its own."""
    if not isinstance(found, Mapping) or not any(isinstance(value, Fingerprint) for value in found.values()):
        return found
    wishes = wanted if isinstance(wanted, Mapping) else {}
    secrets = [value.reveal() for value in wishes.values() if isinstance(value, Sensitive) and not value.common]
    digests = applied if isinstance(applied, Mapping) else {}
    texts = plain if isinstance(plain, Mapping) else None
    told: dict[str, Scalar] = {}
    for name, value in found.items():
        told[name] = value
        if isinstance(value, Fingerprint):
            kept = digests.get(name) == value.digest
            text = unquote(str(texts[name])) if texts is not None and name in texts else None
            if (
                is_secret(name)
                or isinstance(wishes.get(name), Sensitive)
                or (kept and texts is not None and text is None)
                or (text is not None and any(secret and secret in text for secret in secrets))
            ):
                told[name] = replace(value, secret=True)
            elif text is not None and value.fits(text):
                told[name] = replace(value, known=text)
    return told


def _names(name: str, found: object, applied: object) -> list[str]:
    """The names of the drifted values of an attribute: the attribute itself, or the keys in it."""
    if not isinstance(found, Mapping) or not isinstance(applied, Mapping):
        return [name]
    keys = sorted({*found, *applied})
    return [f"{name}.{key}" for key in keys if _drifted(found.get(key), applied.get(key))]


def _drifted(found: object, applied: object) -> bool:
    """True if the value found differs from the value applied last. ``applied`` is parsed from JSON."""
    if isinstance(found, Mapping):
        if not isinstance(applied, Mapping):
            return True
        return found.keys() != applied.keys() or any(_drifted(found[key], applied[key]) for key in found)
    if isinstance(found, Fingerprint):
        return found.digest != applied
    if isinstance(found, tuple):
        return list(found) != applied
    return found != applied
