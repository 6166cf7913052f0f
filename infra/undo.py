"""What a dyno's change overwrites is kept on its server until the apply ends, so that the dyno can go back."""

from __future__ import annotations

from collections.abc import Sequence

from infra.record import STATE
from infra.resource import Command

# One copy for each path, by its number; a path that is not there yet has none, and goes when the dyno goes back.
_KEEP = """\
umask 077
kept=$1; shift
rm -rf "$kept" && mkdir -p "$kept" || exit
number=0
for path; do
  [ ! -e "$path" ] || cp -p -- "$path" "$kept/$number" || exit
  number=$((number + 1))
done
"""

_RESTORE = """\
kept=$1; shift
[ -d "$kept" ] || { echo "nothing was kept to go back to"; exit 1; }
number=0
for path; do
  if [ -e "$kept/$number" ]; then cp -p -- "$kept/$number" "$path.new" && mv -f -- "$path.new" "$path" || exit
  else rm -f -- "$path"; fi
  number=$((number + 1))
done
"""


def keep(app: str, dyno: str, paths: Sequence[str]) -> Command:
    """Copy what is at ``paths``, with its mode, to a directory of root's."""
    return Command(("sh", "-c", _KEEP, "keep", f"{_home(app)}/{dyno}", *paths), says="record")


def restore(app: str, dyno: str, paths: Sequence[str]) -> Command:
    """Put back what ``keep`` copied from the same paths."""
    return Command(("sh", "-c", _RESTORE, "restore", f"{_home(app)}/{dyno}", *paths), says=f"put {dyno} back")


def forget(app: str) -> Command:
    """Remove all copies."""
    return Command(("rm", "-rf", "--", _home(app)), says="record")


def _home(app: str) -> str:
    return f"{STATE}/{app}/undo"
