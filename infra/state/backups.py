"""Backups of the files that the change of a dyno overwrites, kept on the server until the apply ends."""

from __future__ import annotations

from collections.abc import Sequence

from infra.model import paths
from infra.model.resource import Command
from infra.state import records

# Each file is kept as a numbered copy, with its path in a .path file that is written last and in one step: a backup
# with a .path file is complete. A .path file without a copy means that the file did not exist, so a revert removes it.
# If the change before this one was interrupted, its backup is of what ran before both changes, and is kept.
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
  [ ! -e "$path" ] || { cp -p -- "$path" "$kept/$number" && sync "$kept/$number"; } || exit
  printf '%s\\n' "$path" > "$kept/new" && sync "$kept/new" && mv -f "$kept/new" "$kept/$number.path" || exit
done
sync "$kept"
"""

# On a full disk there is no space for a file besides its copy, so the copy itself is linked.
_RESTORE = """\
for name in "$1"/*.path; do
  [ -e "$name" ] || { echo "no backup found"; exit 1; }
  IFS= read -r path < "$name" || exit
  copy=${name%.path}
  if [ -e "$copy" ]; then
    new=$path.dynoctl-new
    { cp -p -- "$copy" "$new" 2>/dev/null && sync "$new" || ln -f -- "$copy" "$new"; } &&
      mv -f -- "$new" "$path" && sync "${path%/*}" || { rm -f -- "$new"; exit 1; }
  else rm -f -- "$path" || exit; fi
done
"""

# The backup of a dyno whose change is still in progress is kept: it is the only one to revert to. If a restore was
# interrupted, it may have left an incomplete file next to a file; before 0.2.0 its name ended with .new.
_FORGET = """\
for kept in "$1"/undo/*; do
  [ -e "$1/pending/${kept##*/}" ] && continue
  for name in "$kept"/*.path; do
    [ -e "$name" ] && IFS= read -r path < "$name" && rm -f -- "$path.dynoctl-new" "$path.new"
  done
  rm -rf -- "$kept"
done
rmdir "$1/undo" 2>/dev/null
:
"""


def keep(app: str, dyno: str, files: Sequence[str]) -> Command:
    """Copy the ``files``, with their modes, to a directory of root. Must run before the pending marker is written."""
    pending = f"{paths.home(app)}/{records.begin(dyno)[0]}"
    return Command(
        ("sh", "-c", _KEEP, "keep", paths.backup(app, dyno), pending, *files), label=f"back up the files of {dyno}"
    )


def restore(app: str, dyno: str) -> Command:
    """Restore the backup of a dyno."""
    return Command(("sh", "-c", _RESTORE, "restore", paths.backup(app, dyno)), label=f"restore the files of {dyno}")


def forget(app: str) -> Command:
    """Remove the backups of all dynos whose change has ended."""
    return Command(("sh", "-c", _FORGET, "forget", paths.home(app)), quiet=True, label="remove old backups")
