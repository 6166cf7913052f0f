"""Whether the program that read-only logins run on a server is the one of this dynoctl and this manifest."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Literal

from infra.ops.server_checks import Checkup
from infra.remote import read_only

Result = Literal["ok", "warning", "failed"]


def examine(app: str, health: Checkup, program: Callable[[], str]) -> tuple[Result, str, str] | None:
    """The result, what was found and a hint; None if no such program is installed. ``program`` returns what this
    dynoctl would install. An older one lacks what a plan needs now; one without a rule for its digest does not run."""
    if not health.observer:
        return None
    path = read_only.PATH.format(app=app)
    hint = f"install {path} and its sudo rule again: dynoctl sudoers --read-only"
    if not any(_is(health.observer, rule) for rule in health.rules):
        return "failed", f"no sudo rule has the digest of {path}: plan --untrusted fails", hint
    if not _is(health.observer, read_only.digest(program())):
        return "warning", f"{path} is of another dynoctl or manifest: plan --untrusted may differ from plan", hint
    return "ok", f"{path} is up to date", ""


def _is(found: str, digest: str) -> bool:
    """Whether a digest in hex is the same as one that sudoers(5) writes in base64 or hex."""
    try:
        return found in (digest.lower(), base64.b64decode(digest, validate=True).hex())
    except ValueError:
        return found == digest.lower()
