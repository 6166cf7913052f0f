"""A volume: a directory with the app's group that outlives every dyno. It is never removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.model import naming, paths
from infra.model.provider import Brief, Fragment, Scope
from infra.model.resource import Attributes, Change, Command, Found
from infra.model.volume import volume_name, volume_path
from providers.base import Base

CREATE_TIMEOUT = 600
"""Seconds to mount its file system and to change the group of its files."""

MODE = "2770"
"""Setgid, so that new files get the app's group."""


def group(app: str) -> str:
    """The group of the app's volumes. A dyno's user has a group of its own, which must be another one: an app named
    ``shop-web-1`` must not share its files with the dyno web.1 of ``shop``."""
    name = f"dyno-{app}"
    return f"dynos-{app}" if naming.UNIT_NAME.match(name) else name


class Volume(Base):
    kind = "volume"
    headline = ("mode", "owner")
    brief = Brief(shown=("mode", "owner"))

    def observe(self, scope: Scope) -> Fragment:
        return Fragment(_SCRIPT, {"root": f"{paths.VOLUMES}/{scope.app}"})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        found: dict[str, Found] = {}
        for line in output.splitlines():
            mode, owner, path = line.split(" ", 2)
            name = path.rpartition("/")[2]
            # Removing it from the manifest keeps its data, and so does destroying the app.
            found[volume_name(scope.app, name)] = Found({"mode": mode.zfill(4), "owner": owner}, kept=True)
        return found

    def triggers(self, change: Change) -> bool:
        return False

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        path = volume_path(scope.app, change.resource.name.partition("@")[2])
        argv = ("sh", "-c", _MAKE, "make", paths.VOLUMES, path, group(scope.app), MODE, f"dyno-{scope.app}")
        return [Command(argv, timeout=CREATE_TIMEOUT, label=f"create the volume {path}")]


# Only root can enter these directories, which may be links to other disks. A dyno sees only its own volumes, bound into
# its sandbox.
_SCRIPT = """\
for path in "$root"/*/; do
  [ -d "$path" ] && stat -L -c '%a %U:%G %n' "${path%/}"
done
:
"""

# Its file system may not be mounted yet, and an empty directory in its place would hide that. 0.1.0 gave the volumes of
# all apps the group $5. -execdir: a dyno of the app may replace a directory by a link meanwhile.
_MAKE = """\
umask 077
systemd-run --quiet --wait --collect --property=RequiresMountsFor="$2" /bin/true ||
  { echo "the file system of $2 cannot be mounted"; exit 1; }
getent group "$3" >/dev/null || groupadd --system "$3" || exit
mkdir -p "$2" && chmod 0700 "$1" "${2%/*}" || exit
if [ "$3" != "$5" ] && getent group "$5" >/dev/null; then
  find "$2/" -xdev -group "$5" -execdir chgrp -h "$3" {} + || exit
fi
chown "root:$3" "$2" && chmod "$4" "$2"
"""

# The uid may be reused, so the files of a removed user are given to root; their group is kept.
GIVE_UP = """\
if [ -d "$2" ] && uid=$(id -u "$1" 2>/dev/null); then
  # Each may be a link to another disk, or its mount point. Another dyno of the app may replace a directory in it by a
  # link to other files of the server meanwhile: -execdir holds the directory that was looked at.
  for volume in "$2"/*/; do
    [ ! -d "$volume" ] || find "$volume" -xdev -uid "$uid" -execdir chown -h root {} + || exit
  done
fi
"""


def desired(app: str) -> Attributes:
    """The desired attributes of a volume."""
    return {"mode": MODE, "owner": f"root:{group(app)}"}
