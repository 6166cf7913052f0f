"""Why a step failed: its own output, or the last lines that the dyno printed, with secrets taken out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from infra.engine.context import Context
from infra.engine.groups import Group
from infra.errors import DynoctlError
from infra.manifest.references import resolve_credentials, resolve_environment, resolver_of
from infra.model import naming
from infra.model.redact import redactor
from infra.model.resource import Fingerprint
from infra.model.shell import StepFailed
from infra.sensitive import Sensitive

Explain = Callable[[Context, Group, StepFailed], tuple[str, str]]


def explain_with(redact: Callable[[str], str]) -> Explain:
    """Explains failures in the dyno's own words; ``redact`` knows every secret that these may hold."""

    def explain(context: Context, group: Group, error: StepFailed) -> tuple[str, str]:
        return redact(error.summary), redact(_detail(context, group, error))

    return explain


def _detail(context: Context, group: Group, error: StepFailed) -> str:
    detail = error.output
    for change in group.changes if error.command.health else ():
        command = context.provider(change).explain(context.scope, change)
        if command is None:
            continue
        try:
            detail = context.shells[group.server].run([command]) or detail
        except DynoctlError:
            continue  # the step's own output is still there to show
    return detail


@dataclass
class CautiousExplanation:
    """Explains failures of dynos whose secrets are not known beforehand, as in a restart.

    A dyno's journal may hold its secrets, so it is shown only if all of them can be read here and match what the dyno
    runs with. They are read once, at the first failure."""

    _asking: threading.Lock = field(default_factory=threading.Lock)
    _asked: bool = False
    _known: Mapping[str, str | Sensitive] | None = None

    def __call__(self, context: Context, group: Group, error: StepFailed) -> tuple[str, str]:
        with self._asking:
            if not self._asked:
                self._asked, self._known = True, _secrets(context)
        if self._known is not None and _covers(context, group, self._known):
            return explain_with(redactor([self._known]))(context, group, error)
        unit = naming.user_name(context.app, group.subject)
        hidden = f"Its secrets cannot be read here to hide them, so its journal is not shown: journalctl -u {unit}"
        return redactor([self._known or {}])(error.summary), hidden


def _secrets(context: Context) -> Mapping[str, str | Sensitive] | None:
    """What dynos have by name, variables and credentials; None if that cannot be read."""
    manifest = context.prepared.manifest
    try:
        resolver = resolver_of(manifest)
        return {**resolve_environment(manifest, resolver), **resolve_credentials(manifest, resolver)}
    except DynoctlError:
        return None


def _covers(context: Context, group: Group, known: Mapping[str, str | Sensitive]) -> bool:
    """Whether what the dyno runs with holds no secret but those that the manifest has now."""
    for key, found in context.prepared.fleet.found[group.server].resources.items():
        if not key.endswith(f".{context.app}-{group.subject}"):
            continue
        for value in found.attributes.values():
            for name, digest in value.items() if isinstance(value, Mapping) else ():
                now = known.get(name, "")
                plain = isinstance(now, str) and name in known
                if isinstance(digest, Fingerprint) and not plain and not digest.fits(now):
                    return False
    return True
