"""A volume: a directory that outlives every dyno, of a group of the app's; made, mended, and never removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.model.provider import Fragment, Scope
from infra.model.resource import Attributes, Change, Command, Found
from infra.model.volume import VOLUMES_ROOT, volume_name, volume_path
from providers.base import Base

MODE = "2770"
"""What is made in it gets its group, too."""


def group(app: str) -> str:
    """The group of all of an app's volumes. No dyno's own group is called so: that ends with its type and number."""
    return f"dyno-{app}"


class Volume(Base):
    kind = "volume"
    headline = ("mode", "owner")

    def observe(self, scope: Scope) -> Fragment:
        return Fragment(_SCRIPT, {"root": f"{VOLUMES_ROOT}/{scope.app}"})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        found: dict[str, Found] = {}
        for line in output.splitlines():
            mode, owner, path = line.split(" ", 2)
            name = path.rpartition("/")[2]
            # Whoever takes it out of the manifest keeps its data, and so does whoever destroys the app.
            found[volume_name(scope.app, name)] = Found({"mode": mode.zfill(4), "owner": owner}, kept=True)
        return found

    def triggers(self, change: Change) -> bool:
        return False

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        path = volume_path(scope.app, change.resource.name.partition("@")[2])
        argv = ("sh", "-c", _MAKE, "make", VOLUMES_ROOT, path, group(scope.app), MODE)
        return [Command(argv, says=f"make the volume {path}")]


# Only root comes by: a dyno gets its own volumes bound into its sandbox, and sees nothing else of this.
_SCRIPT = """\
for path in "$root"/*/; do
  [ -d "$path" ] && stat -c '%a %U:%G %n' "${path%/}"
done
:
"""

_MAKE = """\
umask 077
getent group "$3" >/dev/null || groupadd --system "$3" || exit
mkdir -p "$2" && chmod 0700 "$1" "${2%/*}" && chown "root:$3" "$2" && chmod "$4" "$2"
"""

# A uid that comes back must find nothing of its own, so a user that goes leaves its files to root and to the group.
GIVE_UP = """\
if [ -d "$2" ] && uid=$(id -u "$1" 2>/dev/null); then
  find "$2" -xdev -uid "$uid" -exec chown -h root {} + || exit
fi
"""


def desired(app: str) -> Attributes:
    """One volume, wherever it is."""
    return {"mode": MODE, "owner": f"root:{group(app)}"}
