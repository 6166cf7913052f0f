"""The diff of the app's files that a plan would release, with secrets redacted."""

from __future__ import annotations

from dataclasses import replace

from infra.engine.prepared import Prepared
from infra.model.redact import redactor
from infra.model.source_change import SourceDiff
from infra.model.text import enumeration


def of(ready: Prepared) -> SourceDiff:
    """The diff between the release that runs and the source of the manifest."""
    plan, slug, was = ready.plan, ready.slug, ready.plan.running
    if was is None and plan.unreachable:
        return SourceDiff(
            reason=f"the release that runs is unknown, as {enumeration([*plan.unreachable])} cannot be reached"
        )
    if was is None:
        return SourceDiff(reason="no release runs yet, so every file is new")
    if slug is None or slug.diff is None or slug.digest == was.slug:
        return SourceDiff(reason=f"the files of the app stay as they are in v{was.number}")
    # The login of an untrusted plan cannot read slugs.
    names = [] if ready.request.untrusted else sorted({*plan.formation.before.values()} & ready.fleet.sessions.keys())
    found = slug.diff(was.slug, was.commit, [ready.fleet.sessions[name] for name in names])
    scope = ready.scope
    redact = redactor([*scope.environments.values(), scope.credentials, scope.tls, scope.artifacts])
    return replace(found, files=tuple(replace(file, text=redact(file.text)) for file in found.files))
