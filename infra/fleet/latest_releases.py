"""The latest releases of an app, as a server records them: as many as tell whether a rollback is held."""

from __future__ import annotations

from infra.model import answer, paths, release
from infra.model.release import Release

SCRIPT = f"""\
for number in $(ls "{paths.STATE}/$app/releases" 2>/dev/null | sed -n 's/^\\([0-9]*\\)[.]json$/\\1/p' | sort -rn); do
  IFS= read -r line < "{paths.STATE}/$app/releases/$number.json" || continue
  printf 'release %s\\n' "$line"
  case $line in *'"of": 0, '*'"result": "ok"'*) break;; esac
done
"""
"""Prints the releases of ``$app``, the newest first, down to one that was rolled out completely and is no rollback:
what is older holds nothing back. ``top`` runs this for each sample, and a release can have a long failure."""


def read(output: str) -> tuple[Release, ...]:
    """The releases in the output of the script, oldest first. Lines that cannot be read are left out."""
    records = [release.parse(answer.record(line)) for line in answer.lines(output, "release")]
    return tuple(entry for entry in reversed(records) if entry is not None)
