"""Read a dyno.yaml: load it with source positions, validate it and build the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import Diagnostic, ManifestInvalid

if TYPE_CHECKING:
    from infra.manifest.model import Manifest

MOST = 1000
"""Errors that are reported. A manifest of 1 MiB can have more than 100,000, each with its line."""


def read(
    file: Path,
    destination: str | None = None,
    counts: Mapping[str, int] | None = None,
    also: Collection[str] = (),
) -> Manifest:
    """The manifest in ``file``, merged with the files it extends and the overlay of ``destination``.

    ``counts`` replaces the number of dynos of process types. ``also`` are names of servers without the labels of a
    preview that it has all the same, without dynos; ``previews.ALL``: all. Raises ManifestInvalid with at most ``MOST``
    errors."""
    manifest, diagnostics = check(file, destination, counts, also)
    if manifest is None:
        raise ManifestInvalid(diagnostics)
    return manifest


def check(
    file: Path,
    destination: str | None = None,
    counts: Mapping[str, int] | None = None,
    also: Collection[str] = (),
) -> tuple[Manifest | None, tuple[Diagnostic, ...]]:
    """The manifest and (), or None and every error, in the order of the file."""
    from infra.manifest import causes, check_semantics, overlays, previews, schema, semantics, warnings
    from infra.manifest.build import build
    from infra.manifest.nodes import Unusable
    from infra.manifest.paths import is_file

    try:
        _, preview = previews.split(destination)
        document, problems, files = overlays.load_all(file, destination)
    except Unusable as error:
        return None, (error.diagnostic,)
    for part in (*getattr(document, "parts", ()), document):
        newer = schema.newer(part)
        if newer is not None:  # the rest of it has an unknown format
            return None, (newer,)
    if counts:
        from infra.manifest.counts import recount

        recount(document.data, counts)
    invalid, meant = list(islice(schema.check(document), MOST + 1)), list[Diagnostic]()
    overlays.expand(document.data)
    if preview and not (problems or invalid):
        taken = is_file(overlays.overlay_of(file, preview))
        problems += previews.derive(document, preview, taken=taken, also=also)
    if not (preview and (problems or invalid)):  # what is merged, and not derived, has errors that no preview has
        meant += islice(semantics.check(document, file.resolve().parent), MOST + 1)
    problems += causes.distinct(invalid, meant, document.unread)
    if len(problems) > MOST:
        problems[MOST:] = [Diagnostic(f"more than {MOST} errors, and the others are not shown")]
    if problems:
        return None, tuple(sorted(dict.fromkeys(problems), key=_position))
    manifest = build(document, file, destination, files)
    impossible = tuple(sorted(check_semantics.impossible(document), key=_position))
    return replace(manifest, warnings=tuple(warnings.check(document)), impossible=impossible), ()


def refuse_impossible(manifest: Manifest) -> None:
    """Raise ManifestInvalid for a manifest that no plan can carry out."""
    if manifest.impossible:
        raise ManifestInvalid(manifest.impossible)


def _position(diagnostic: Diagnostic) -> tuple[str, int, int]:
    location = diagnostic.location
    return ("", 0, 0) if location is None else (location.file, location.line, location.column)
