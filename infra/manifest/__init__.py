"""From a dyno.yaml to a value: load with positions, validate, and build the model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import Diagnostic, ManifestInvalid

if TYPE_CHECKING:
    from infra.manifest.model import Manifest

MOST_SHOWN = 100
"""Diagnostics of one file. Nobody reads more, and a hostile file could have any number."""


def read(path: Path) -> Manifest:
    """The manifest in the file ``path``. Raises ManifestInvalid with everything that is wrong with it."""
    manifest, diagnostics = check(path)
    if manifest is None:
        raise ManifestInvalid(diagnostics)
    return manifest


def check(path: Path) -> tuple[Manifest | None, tuple[Diagnostic, ...]]:
    """The manifest in the file ``path``, or None and every error at once, in the order of the file.

    Files that the manifest names are looked for; nothing is run, no secret is read, no network is used.
    """
    from infra.manifest import files, load, schema, semantics
    from infra.manifest.build import build

    try:
        document, problems = load.load(path)
    except load.Unusable as error:
        return None, (error.diagnostic,)
    problems += schema.check(document)
    if not schema.is_newer(document):
        base = directory(path)
        problems += semantics.check(document)
        problems += files.check(document, base)
        if not problems:
            return build(document.data, path, base), ()
    return None, _in_order(problems)


def directory(path: Path) -> Path:
    """The manifest's directory, absolute: what relative paths in it are seen from."""
    return Path(os.path.abspath(path)).parent  # noqa: PTH100  # resolves .. as the shell's cd does


def _in_order(problems: list[Diagnostic]) -> tuple[Diagnostic, ...]:
    ordered = sorted(dict.fromkeys(problems), key=_place)
    if len(ordered) > MOST_SHOWN:
        rest = len(ordered) - MOST_SHOWN
        ordered = [*ordered[:MOST_SHOWN], Diagnostic(f"The file holds {rest} more errors")]
    return tuple(ordered)


def _place(diagnostic: Diagnostic) -> tuple[int, int]:
    where = diagnostic.location
    return (0, 0) if where is None else (where.line, where.column)
