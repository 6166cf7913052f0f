"""Reads a plan back from its JSON, to show a saved plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.errors import Diagnostic, DynoctlError, Location, Unreachable
from infra.model import naming
from infra.model.formation import CORE, Formation
from infra.model.lock_holder import Holder
from infra.model.release import Hold, Release
from infra.model.resource import Action, Attribute, Attributes, Change, Effect, Fingerprint, Resource, Scalar
from infra.model.source_change import SourceChange
from infra.plan.overview import ServerOverview
from infra.plan.plan import Check, Plan
from infra.sensitive import Sensitive
from infra.views import plan_json
from infra.views.attributes import flat


def plan(document: Mapping[str, Any]) -> Plan:
    """The plan in a document, to be shown; its secrets are empty. Raises DynoctlError if the document is invalid."""
    try:
        return _plan(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise DynoctlError(f"invalid plan file: {why}", "make a new one: dynoctl plan --out FILE") from None


def _plan(document: Mapping[str, Any]) -> Plan:
    placement = document["placement"]
    changed = [values["dyno"] for values in document["changes"] if values["dyno"] is not None]
    batches = [dyno for batch in document["batches"] for dyno in batch]
    for dyno in (*placement["after"], *placement["before"], *batches, *changed):
        if not naming.DYNO_NAME.fullmatch(dyno):
            raise ValueError(f"invalid dyno name {dyno!r}")
    number, running, source = document["release"], document.get("running"), document.get("source")
    return Plan(
        app=str(document["app"]),
        changes=tuple(_change(values) for values in document["changes"]),
        formation=Formation((), dict(placement["after"]), dict(placement["before"])),
        batches=tuple(tuple(batch) for batch in document["batches"]),
        waves=tuple((str(wave["value"]), int(wave["batches"])) for wave in document.get("waves", ())),
        unreachable={name: Unreachable(str(why)) for name, why in document["unreachable"].items()},
        leaving=tuple(document["leaving"]),
        errors=tuple(map(_error, document["errors"])),
        notes=tuple(document["notes"]),
        fingerprint=str(document["fingerprint"]).__str__,
        candidates=tuple(document["candidates"]),
        release_on=document["release_on"],
        release=None if number is None else Release(int(number), "", "", "", of=int(document["rollback_to"])),
        fresh=bool(document["new_release"]),
        running=None if running is None else _running(running),
        commit=str(document.get("commit", "")),
        fleet={str(name): _server(values) for name, values in document.get("fleet", {}).items()},
        source=None if source is None else _source(source),
        build=tuple(document["build"]),
        builder=document["builder"],
        delivery=str(document.get("delivery", "")),
        checks=tuple(Check(**check) for check in document.get("checks", ())),
        exposure={type_: (score["before"], score["after"]) for type_, score in document.get("exposure", {}).items()},
        left_out=int(document.get("left_out", 0)),
        idle=frozenset(document.get("idle", ())),
        canary=bool(document.get("canary", False)),
        evacuated=tuple(document.get("evacuated", ())),
        held=None if document.get("held") is None else Hold(**document["held"]),
        options=tuple(map(str, document.get("options", ()))),
        applying=tuple(Holder(**holder) for holder in document.get("applying", ())),
    )


def _error(values: Mapping[str, Any]) -> Diagnostic:
    at = values.get("location")
    location = None
    if at is not None:
        location = Location(str(at["file"]), int(at["line"]), int(at["column"]), str(at["text"]))
    summary, expected, hint = (str(values[name]) for name in ("summary", "expected", "hint"))
    return Diagnostic(summary, str(values.get("path", "")), location, expected, hint)


def _running(values: Mapping[str, Any]) -> Release:
    number, commit, message, who, when = (values[name] for name in plan_json.RUNNING)
    return Release(int(number), "", "", "", commit=str(commit), message=str(message), who=str(who), when=str(when))


def _server(values: Mapping[str, Any]) -> ServerOverview:
    free = None if values["free"] is None else round(float(values["free"]) * CORE)
    known = {name: value for name, value in values.items() if name != "overcommit"}
    return ServerOverview(**{**known, "free": free, "per_core": round(float(values.get("overcommit", 1)) * CORE)})


def _source(values: Mapping[str, Any]) -> SourceChange:
    files, uncommitted = (
        tuple((str(status), str(path)) for status, path in values.get(key, ())) for key in ("files", "uncommitted")
    )
    return SourceChange(
        tuple(map(str, values["commits"])),
        files,
        int(values["more_commits"]),
        int(values["more_files"]),
        bool(values["dirty"]),
        uncommitted,
        int(values.get("more_uncommitted", 0)),
        bool(values.get("released_dirty", False)),
        tuple(map(str, values.get("untracked", ()))),
        int(values.get("more_untracked", 0)),
    )


def _change(values: Mapping[str, Any]) -> Change:
    before, after = _attributes(values["before"], _SECRET_THERE), _attributes(values["after"], Sensitive(""))
    if before is not None and after is not None:
        before = _with_unchanged(before, after, set(values["differs"]))
    resource = Resource(values["server"], values["kind"], values["name"], after or before or {}, values["dyno"])
    drifted = tuple(values.get("drifted", ()))
    return Change(
        resource=resource,
        action=Action(values["action"]),
        before=before,
        after=after,
        reason=values["reason"],
        drift=bool(values["drift"]),
        drifted=drifted,
        effect=None if values["effect"] is None else Effect(values["effect"]),
    )


_SECRET_THERE = Fingerprint("", "", str, secret=True)
"""A secret on a server. It is the same as no value, so that a change of it stays one."""


def _attributes(values: Mapping[str, Any] | None, secret: Scalar) -> Attributes | None:
    return None if values is None else {name: _attribute(value, secret) for name, value in values.items()}


def _attribute(value: Any, secret: Scalar) -> Attribute:
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, dict):
        return value  # type: ignore[no-any-return]  # everything else in JSON is a scalar
    if value == {"sensitive": True}:
        return secret
    if value == {"hidden": True}:
        return Fingerprint("", "", str)
    return {name: _attribute(item, secret) for name, item in value.items()}  # type: ignore[misc]  # one level deep


def _with_unchanged(before: Attributes, after: Attributes, differs: set[str]) -> Attributes:
    """``before`` with every value that does not differ taken from ``after``: the document lacks values that stayed on
    their server."""
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
