"""Warn of secrets in files that do not exist, such as a master key: a plan could not read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from infra.errors import Diagnostic
from infra.manifest import closed
from infra.manifest.model import Backing, Manifest, Reference, Value
from infra.manifest.paths import exists, resolve_path


def missing(manifest: Manifest) -> Iterator[Diagnostic]:
    """A warning for each ``from_file`` whose file does not exist. Where a manifest is only checked, as in CI, its
    secrets need not be there."""
    base = manifest.file.resolve().parent
    for path, value in _values(manifest):
        if isinstance(value, Reference) and value.kind == "from_file":
            file = resolve_path(base, str(value.value))
            if denied := closed.behind(file, f"file {value.value}"):
                yield replace(denied, path=path, severity="warning")
            elif not exists(file):
                hint = "plan and apply need it: create it, or copy it from who has it"
                yield Diagnostic(f"file {value.value} not found", path, hint=hint, severity="warning")


def _values(manifest: Manifest) -> Iterator[tuple[str, Value | None]]:
    yield from ((f"env/{name}", value) for name, value in manifest.env.items())
    yield from ((f"credentials/{name}", value) for name, value in manifest.credentials.items())
    yield from _backing("database", manifest.database)
    yield from _backing("cache", manifest.cache)
    for kind, backings in (("databases", manifest.databases), ("caches", manifest.caches)):
        for name, backing in backings.items():
            yield from _backing(f"{kind}/{name}", backing)
    if manifest.router is not None:
        yield "router/tls/certificate", manifest.router.certificate
        yield "router/tls/key", manifest.router.key


def _backing(path: str, backing: Backing | None) -> Iterator[tuple[str, Value | None]]:
    if backing is not None:
        yield from ((f"{path}/{key}", getattr(backing, key)) for key in ("url", "user", "password"))
