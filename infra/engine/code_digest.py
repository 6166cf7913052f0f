"""A digest of dynoctl's own code: builds of the same version may differ, and a checkout changes without a new
version."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from infra import __version__
from infra.plan.upgrade import Build

PACKAGES = ("infra", "providers", "stacks", "schemas")
"""The packages of a wheel of dynoctl. They are located, not imported: the engine does not import providers and
stacks."""

_SUFFIXES = (".py", ".json")


@cache
def code_digest() -> str:
    """The digest in hex. It is the same for a wheel and a checkout of the same commit, in any directory.

    It is computed once, as the code that runs does not change. It takes about 7 ms, so it is computed only if
    something changes, or a plan is saved or applied."""
    return _digest(
        (f"{name}/{path.relative_to(root).as_posix()}", path)
        for name in PACKAGES
        for root in _places(name)
        for path in root.rglob("*")
        if path.suffix in _SUFFIXES and path.is_file()
    )


def this_build() -> Build:
    """The running build of dynoctl, as named in records and reasons."""
    return Build(__version__, code_digest()[:12])


def _places(package: str) -> list[Path]:
    spec = find_spec(package)
    return [Path(place) for place in (spec.submodule_search_locations if spec else None) or ()]


def _digest(files: Iterable[tuple[str, Path]]) -> str:
    whole = hashlib.sha256()
    for name, path in sorted(files):
        whole.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()
