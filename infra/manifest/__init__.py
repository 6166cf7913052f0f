"""From a dyno.yaml to a value: load with positions, validate, and build the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import Diagnostic, ManifestInvalid

if TYPE_CHECKING:
    from infra.manifest.model import Manifest


def read(file: Path) -> Manifest:
    """The manifest in ``file``. Raises ManifestInvalid with everything that is wrong with it."""
    manifest, diagnostics = check(file)
    if manifest is None:
        raise ManifestInvalid(diagnostics)
    return manifest


def check(file: Path) -> tuple[Manifest | None, tuple[Diagnostic, ...]]:
    """The manifest, or None and every error at once, in the order of the file."""
    from infra.manifest import load, schema, semantics
    from infra.manifest.build import build

    try:
        document, problems = load.load(file)
    except load.Unusable as error:
        return None, (error.diagnostic,)
    problems += schema.check(document)
    problems += semantics.check(document, file.resolve().parent)
    if problems:
        return None, tuple(sorted(dict.fromkeys(problems), key=_place))
    return build(document, file), ()


def _place(diagnostic: Diagnostic) -> tuple[int, int]:
    where = diagnostic.location
    return (0, 0) if where is None else (where.line, where.column)
