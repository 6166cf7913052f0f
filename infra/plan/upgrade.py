"""Explains what another dynoctl needs: nobody changed the manifest, and yet servers must change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from infra.model.release import Release
from infra.model.resource import Action, Change


@dataclass(frozen=True)
class Build:
    """One build of dynoctl: its version, and the first digits of its code's digest ("" where that is not known)."""

    version: str
    code: str

    def settled(self, manifest: str) -> dict[str, str]:
        """What records say of an apply that made everything as this build and the manifest with this digest want it."""
        return {"dynoctl": self.version, "code": self.code, "manifest": manifest[:12]}


def reason(meta: Mapping[str, Any], here: Build, *, manifest: str, last: Release | None, fresh: bool, slug: str) -> str:
    """Why resources differ that were as another build wanted them; "" where that is not the cause.

    ``manifest`` and ``slug`` are the digests of what is wanted now, ``last`` is the newest release, and ``fresh`` says
    whether the plan makes another one. It is certain only if the manifest is as it was and no release is made: else a
    secret or the source may be what changed."""
    settled = meta.get("settled") or {}
    then = Build(str(settled.get("dynoctl", "")), str(settled.get("code", "")))
    if not then.version or then == here:
        return ""
    # 0.1.0 did not record the manifest that it applied last, but each release has the one that it was made from.
    before = str(settled.get("manifest") or ("" if last is None else last.manifest))
    same = before == manifest[:12]
    if fresh and not (same and last is not None and last.slug == slug):
        return ""
    words = "writes" if same and not fresh else "may write"
    old, new = then.version, here.version
    if old == new:
        old, new = f"{old} (code {then.code})", f"{new} (code {here.code})"
    return f"dynoctl {new} {words} it differently than {old} did"


def explain(changes: Sequence[Change], why: str) -> tuple[Change, ...]:
    """The changes with ``why`` added to whatever differs without anybody's having touched it on the server, and to what
    restarts for that."""
    if not why:
        return tuple(changes)
    dynos = {(one.resource.server, one.resource.dyno) for one in changes if _differs(one) and one.resource.dyno}

    def explained(change: Change) -> Change:
        follows = change.action is Action.RESTART and (change.resource.server, change.resource.dyno) in dynos
        if not follows and not _differs(change):
            return change
        return replace(change, reason="; ".join(one for one in (change.reason, why) if one))

    return tuple(explained(change) for change in changes)


def _differs(change: Change) -> bool:
    return change.action is Action.UPDATE and not change.drift
