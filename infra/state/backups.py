"""What a dyno's change overwrites is kept on its server until the apply ends, so that the dyno can go back."""

from __future__ import annotations

from collections.abc import Sequence

from infra.model import paths
from infra.model.resource import Command
from infra.state import records

# Each path is kept as a numbered copy with its name beside it; the name comes last and whole, so that what has one is
# complete. A name without a copy: the file was not there, and goes when the dyno goes back. Where the change before
# this one was cut off, the copies are of what ran before that, and stay.
_KEEP = """\
umask 077
kept=$1 pending=$2; shift 2
[ -e "$pending" ] || rm -rf "$kept" || exit
mkdir -p "$kept" || exit
number=0
for path; do
  grep -Fxqs -e "$path" "$kept"/*.path && continue
  while [ -e "$kept/$number.path" ]; do number=$((number + 1)); done
  rm -f "$kept/$number"
  [ ! -e "$path" ] || cp -p -- "$path" "$kept/$number" || exit
  printf '%s\\n' "$path" > "$kept/new" && mv -f "$kept/new" "$kept/$number.path" || exit
done
"""

_RESTORE = """\
for name in "$1"/*.path; do
  [ -e "$name" ] || { echo "nothing was kept to go back to"; exit 1; }
  IFS= read -r path < "$name" || exit
  copy=${name%.path}
  if [ -e "$copy" ]; then cp -p -- "$copy" "$path.new" && mv -f -- "$path.new" "$path" || exit
  else rm -f -- "$path" || exit; fi
done
"""

# What belongs to a dyno whose change is still under way is all that it can go back to. Of one that was cut off while
# its files were put back, a file that is not whole may be left beside each.
_FORGET = """\
for kept in "$1"/undo/*; do
  [ -e "$1/pending/${kept##*/}" ] && continue
  for name in "$kept"/*.path; do
    [ -e "$name" ] && IFS= read -r path < "$name" && rm -f -- "$path.new"
  done
  rm -rf -- "$kept"
done
rmdir "$1/undo" 2>/dev/null
:
"""


def _directory(app: str, dyno: str) -> str:
    return f"{paths.home(app)}/undo/{dyno}"


def keep(app: str, dyno: str, files: Sequence[str]) -> Command:
    """Copy what is at ``files``, with its mode, to a directory of root's. To be run before the dyno's pending mark."""
    pending = f"{paths.home(app)}/{records.begin(dyno)[0]}"
    return Command(("sh", "-c", _KEEP, "keep", _directory(app, dyno), pending, *files), says="keep its files")


def restore(app: str, dyno: str) -> Command:
    """Put back all that was kept for a dyno."""
    return Command(("sh", "-c", _RESTORE, "restore", _directory(app, dyno)), says=f"put {dyno} back")


def forget(app: str) -> Command:
    """Remove the copies of every dyno whose change has ended."""
    return Command(("sh", "-c", _FORGET, "forget", paths.home(app)), quiet=True, says="remove old backups")
