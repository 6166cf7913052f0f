"""Explain changes that are due to another version of dynoctl, with no change of the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from infra.model.release import Release
from infra.model.resource import Action, Change


@dataclass(frozen=True)
class Build:
    """One build of dynoctl: its version, and the first digits of the digest of its code ("" if unknown)."""

    version: str
    code: str

    def settled(self, manifest: str) -> dict[str, str]:
        """The record of an apply after which everything is as this build and the manifest with this digest require."""
        return {"dynoctl": self.version, "code": self.code, "manifest": manifest[:12]}


def reason(meta: Mapping[str, Any], this: Build, *, manifest: str, last: Release | None, fresh: bool, slug: str) -> str:
    """The reason for resources that differ because another build applied them; "" if that is not the cause.

    ``manifest`` and ``slug`` are the current digests, ``last`` is the newest release, and ``fresh`` is whether the plan
    creates a new one. The cause is certain only if the manifest is unchanged and no release is created: otherwise a
    secret or the source may have changed."""
    settled = meta.get("settled") or {}
    then = Build(str(settled.get("dynoctl", "")), str(settled.get("code", "")))
    if not then.version or then == this:
        return ""
    # 0.1.0 did not record the manifest of the last apply, but each release has the digest of its manifest.
    before = str(settled.get("manifest") or ("" if last is None else last.manifest))
    unchanged = before == manifest[:12]
    if fresh and not (unchanged and last is not None and last.slug == slug):
        return ""
    verb = "writes" if unchanged and not fresh else "may write"
    old, new = then.version, this.version
    if old == new:
        old, new = f"{old} (code {then.code})", f"{new} (code {this.code})"
    return f"dynoctl {new} {verb} it differently than {old} did"


def explain(changes: Sequence[Change], why: str) -> tuple[Change, ...]:
    """The changes, with ``why`` added to the reason of those that differ without drift, and of the restarts that they
    cause."""
    if not why:
        return tuple(changes)
    dynos = {
        (change.resource.server, change.resource.dyno)
        for change in changes
        if _differs(change) and change.resource.dyno
    }

    def explained(change: Change) -> Change:
        follows = change.action is Action.RESTART and (change.resource.server, change.resource.dyno) in dynos
        if not follows and not _differs(change):
            return change
        return replace(change, reason="; ".join(reason for reason in (change.reason, why) if reason))

    return tuple(explained(change) for change in changes)


def _differs(change: Change) -> bool:
    return change.action is Action.UPDATE and not change.drift and bool(change.differing())
