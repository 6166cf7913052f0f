"""Explain why a step failed: by its output, or by the last log lines of the dyno, with secrets redacted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from infra.engine import failure_report
from infra.engine.context import Context
from infra.engine.failure_report import DEADLINE, Limits
from infra.engine.groups import Group
from infra.errors import DynoctlError
from infra.manifest.model import Manifest
from infra.manifest.references import resolve_credentials, resolve_environment, resolver_of
from infra.model import naming
from infra.model.redact import redactor
from infra.model.resource import Fingerprint
from infra.model.shell import StepFailed
from infra.sensitive import Sensitive

Explain = Callable[[Context, Group, StepFailed], tuple[str, str]]


def explain_with(redact: Callable[[str], str]) -> Explain:
    """A function that explains failures by the log lines of dynos. ``redact`` knows every secret in them."""

    def explain(context: Context, group: Group, error: StepFailed) -> tuple[str, str]:
        return redact(error.summary), redact(_detail(context, group, error))

    return explain


def _detail(context: Context, group: Group, error: StepFailed) -> str:
    if not error.command.health:
        return error.output
    found = error.output
    for change in group.changes:
        command = context.provider(change).explain(context.scope, change)
        if command is None:
            continue
        try:
            found = context.shells[group.server].run([command]) or found
        except DynoctlError:
            continue  # the output of the step is shown instead
    text = failure_report.detail(found, _limits(context.prepared.manifest, group.subject))
    own = error.output.strip()
    # What systemctl says of its job is in the detail, too, and better.
    return text if not own or own in text or own.startswith("Job for ") else f"{own}: {text}"


def _limits(manifest: Manifest, dyno: str) -> Limits:
    type_ = naming.parse_dyno(dyno)[0]
    types = manifest.types
    return Limits(manifest.rollout.healthy_deadline, DEADLINE, types.get(type_, types["web"]))


@dataclass
class CautiousExplanation:
    """Explains failures of dynos whose secrets have not been read, as in a restart.

    The journal of a dyno may contain its secrets, so it is shown only if all of them can be read locally and are those
    that the dyno runs with. They are read once, at the first failure."""

    _mutex: threading.Lock = field(default_factory=threading.Lock)
    _read: bool = False
    _secrets: Mapping[str, str | Sensitive] | None = None

    def __call__(self, context: Context, group: Group, error: StepFailed) -> tuple[str, str]:
        with self._mutex:
            if not self._read:
                self._read, self._secrets = True, _secrets(context)
        if self._secrets is not None and _covers(context, group, self._secrets):
            return explain_with(redactor([self._secrets]))(context, group, error)
        unit = naming.user_name(context.app, group.subject)
        command = f"journalctl --namespace=+{naming.log_namespace(context.app)} -u {unit}"
        hidden = f"cannot read the secrets to redact, so its log is not shown; on the server: {command}"
        return redactor([self._secrets or {}])(error.summary), hidden


def _secrets(context: Context) -> Mapping[str, str | Sensitive] | None:
    """The config vars and credentials of the dynos, by name; None if they cannot be read."""
    manifest = context.prepared.manifest
    try:
        resolver = resolver_of(manifest)
        return {**resolve_environment(manifest, resolver), **resolve_credentials(manifest, resolver)}
    except DynoctlError:
        return None


def _covers(context: Context, group: Group, secrets: Mapping[str, str | Sensitive]) -> bool:
    """Whether all secrets that the dyno runs with are those of the current manifest."""
    for key, found in context.prepared.fleet.found[group.server].resources.items():
        if not key.endswith(f".{context.app}-{group.subject}"):
            continue
        for value in found.attributes.values():
            for name, digest in value.items() if isinstance(value, Mapping) else ():
                value_now = secrets.get(name, "")
                plain = isinstance(value_now, str) and name in secrets
                if isinstance(digest, Fingerprint) and not plain and not digest.fits(value_now):
                    return False
    return True
