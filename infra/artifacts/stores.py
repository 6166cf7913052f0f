"""Which store a manifest names, with what logs in to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from infra.artifacts.http_store import HttpStore
from infra.artifacts.oci_store import OciStore, registry
from infra.artifacts.source import Access, Store
from infra.artifacts.web import Web
from infra.manifest.model import Artifacts, Manifest
from infra.sensitive import Sensitive


def store_of(
    manifest: Manifest, logins: Mapping[str, str | Sensitive], sleep: Callable[[float], object] = time.sleep
) -> Store | None:
    """The store of a manifest; None if slugs are sent over SSH. ``logins`` are by ``Artifacts.logins``."""
    artifacts = manifest.artifacts
    if artifacts.kind == "ssh":
        return None
    push, pull = _access(logins, artifacts.kind), _access(logins, f"{artifacts.kind}/read")
    web = Web(artifacts.store, insecure=artifacts.insecure, sleep=sleep)
    if artifacts.kind == "oci":
        return OciStore(artifacts, push, pull, manifest.app.name, web)
    return HttpStore(artifacts, push, pull, manifest.app.name, manifest.file.resolve().parent, web)


def probe(artifacts: Artifacts) -> str:
    """A URL of the store that needs no login to be asked; "" if it has none that is always there."""
    if artifacts.kind == "oci":
        return f"{registry(artifacts)}/v2/"
    return f"{artifacts.url}/" if artifacts.url else ""


def _access(logins: Mapping[str, str | Sensitive], section: str) -> Access:
    values = {path.rpartition("/")[2]: value for path, value in logins.items() if path.rpartition("/")[0] == section}
    return Access(**values)
