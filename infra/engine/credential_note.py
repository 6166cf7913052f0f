"""The note of files with credentials that are not in the slug, which the app may miss."""

from __future__ import annotations

from collections.abc import Sequence

from infra.manifest.model import Manifest
from infra.manifest.references import secret_files

NAMED = 5
"""How many files the note names."""


def of(manifest: Manifest, left_out: Sequence[str]) -> str:
    """The note; "" if there is nothing to say, as of files that the manifest reads: nobody misses those in the slug."""
    read = {file.resolve() for file in secret_files(manifest)} if left_out else set()
    files = [file for file in left_out if (manifest.app.source / file).resolve() not in read]
    if not files:
        return ""
    more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
    return (
        f"left out of the slug, as credentials: {', '.join(files[:NAMED])}{more}; to confirm it, list them in "
        f".slugignore; to put one back, add the line !{files[0]} to it"
    )
