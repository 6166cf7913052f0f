"""The script that starts every process of an app: it prepares the directories that the process writes to, and then
replaces itself with the program, in a Landlock domain."""

from __future__ import annotations

from collections.abc import Sequence

from infra.manifest.model import Writable
from infra.model import paths
from infra.model.landlock import LAUNCHER

SEED = f"{paths.GENERATED}/seed"
"""Where a process sees the slug's own files of a writable directory, which covers them."""

# Without its mount, it is a directory that only root may enter. systemd mounts it again at the next start.
_TMP = """\
[ -w /tmp ] || {
  echo "/tmp is not mounted: see systemctl status 'run-dyno-*.mount' on the server" >&2
  exit 1
}
"""

# SQLite creates a database with mode 0644, which no umask makes writable for the group, and gives its -wal and -shm
# files the mode of the database. So the file is there before SQLite opens it: an empty file is an empty database. A
# process type without the volume cannot create it.
_DATABASES = """\
for file in {files}; do
  [ -e "$file" ] || (umask 007; /bin/mkdir -p "${{file%/*}}" && : >> "$file") 2>/dev/null
done
"""

# The mode and the time of each file are kept; it belongs to the user of the process.
_SEEDS = """\
for directory in {directories}; do
  /usr/bin/find "{seed}/$directory" -mindepth 1 -maxdepth 1 \\
    -exec /bin/cp -R -P --preserve=mode,timestamps -t "{app}/$directory" -- {{}} + ||
    {{ echo "cannot fill $directory with the files of the slug: see app.writable in dyno.yaml" >&2; exit 1; }}
done
"""


def text(writable: Sequence[Writable], databases: Sequence[str]) -> str:
    """The script. ``databases`` are files relative to the app. The schema allows no character in either that a shell
    would expand."""
    seeds = [entry.path for entry in writable if entry.seed]
    files = [f"{paths.APP_DIRECTORY}/{file}" for file in databases]
    prepare = _DATABASES.format(files=" ".join(files)) if files else ""
    if seeds:
        prepare += _SEEDS.format(directories=" ".join(seeds), seed=SEED, app=paths.APP_DIRECTORY)
    return _TMP + prepare + LAUNCHER
