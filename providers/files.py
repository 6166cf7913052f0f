"""Commands that several resource types share: write a file, remove files, run systemctl, stop units for good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from infra.model import naming, paths
from infra.model.resource import Command

NEW = ".dynoctl-new"
"""The suffix of a file that is being written. A power cut may leave one."""

# What a power cut may leave is the old file or the new one, never an empty one: so the file is on the disk before it is
# renamed, and its directory afterwards.
_WRITE = f"""\
umask 077
new=$1{NEW}
mkdir -p "${{1%/*}}" && cat > "$new" && chmod "$2" "$new" && sync "$new" && mv -f "$new" "$1" && sync "${{1%/*}}" ||
  {{ rm -f -- "$new"; exit 1; }}
"""

_REMOVE = f"""\
{paths.DROP}
while [ "$1" != -- ]; do rm -rf -- "$1" || exit; shift; done
shift
drop "$@"
"""

_OURS = (paths.STATE, paths.ENVIRONMENTS, paths.ROUTER.rpartition("/")[0], paths.CONTROL)
"""The directories that are created for our files only, and so are removed with the last of them."""

_MORE_ROOTS = (
    "/etc/systemd/system.control",
    paths.CONTROL,
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/run/systemd/system",
)
"""Where systemd and our reverts keep drop-ins of our units, besides the directory of the units."""

# A unit that is masked, empty or gone cannot be disabled, so its links are removed as well. Sockets are stopped first,
# as a new connection would start the service again.
_STOP = """\
systemctl --no-reload disable "$@" >/dev/null 2>&1
for unit; do
  for link in /etc/systemd/system/*.wants/"$unit"; do
    [ ! -L "$link" ] || { rm -f "$link" && rmdir --ignore-fail-on-non-empty "${link%/*}"; } || exit
  done
done
said=
for unit; do
  case $unit in *.socket|*.timer) said=$said$(systemctl stop "$unit" 2>&1);; esac
done
said=$said$(systemctl stop "$@" 2>&1)
for unit; do
  state=$(systemctl show -p ActiveState --value "$unit")
  case $state in inactive|failed) ;; *) printf '%s is %s: %s\\n' "$unit" "$state" "$said"; exit 1;; esac
done
systemctl reset-failed "$@" 2>/dev/null
:
"""

# systemd keeps an implicit slice after its last unit, and ends what is in a slice that it stops, such as one-off dynos.
# The prefix of shop also matches shop-admin, which at worst leaves an empty slice until that app is removed too.
_STOP_SLICE = """\
own=$3
left() {
  one=${1#dyno-}; one=${one:+-${one%-}.}
  for unit in /etc/systemd/system/"$1"*.service \
    /run/systemd/transient/dynoctl-*"$one"*.service /run/systemd/system/dynoctl-*"$one"*.service; do
    [ -e "$unit" ] || continue
    case ${unit##*/} in "$own.service"|"$own-ready.service"|"$own-due.service") ;; *) return 0;; esac
  done
  return 1
}
left "$1" || systemctl stop "$2" || exit
left dyno- || systemctl stop dyno.slice
"""


def write(path: str, content: str, mode: str = "0600", *, secret: bool = False, label: str = "") -> Command:
    """Write a root-owned file to a temporary name, set its mode, then rename it. The content is sent on stdin."""
    return Command(
        ("sh", "-c", _WRITE, "write", path, mode),
        stdin=content.encode(),
        secret=secret,
        label=label or f"write {path}",
    )


def make_directory(path: str, mode: str, label: str = "") -> Command:
    """Create a directory with a mode, or set the mode of an existing one."""
    # Others use the one above its parent, such as /srv.
    script = '(umask 022; mkdir -p "${1%/*/*}/") && mkdir -p "$1" && chmod "$2" "$1"'
    return Command(("sh", "-c", script, "mkdir", path, mode), label=label or f"create {path}")


def remove(*removed: str, label: str = "") -> Command:
    """Remove files and trees in order, then those of their parent directories that were made for them, if empty."""
    parents = dict.fromkeys(parent for path in removed for parent in _parents(path))
    return Command(("sh", "-c", _REMOVE, "remove", *removed, "--", *parents), label=label or f"remove {removed[-1]}")


def _parents(path: str) -> Iterator[str]:
    parent = path.rpartition("/")[0]
    while any(parent == root or parent.startswith(f"{root}/") for root in _OURS):
        yield parent
        parent = parent.rpartition("/")[0]


def stop(*units: str, timeout: int, label: str) -> Command:
    """Disable units and stop them. Fails, with systemd's words, if one is still active afterwards."""
    return Command(("sh", "-c", _STOP, "stop", *units), timeout=timeout, label=label)


def stop_slice(app: str, service: str = "") -> Command:
    """Stop the app's slice if nothing but the unit is left in it, and the slice of all apps with the last app."""
    slice_ = f"dyno-{naming.escape(app)}.slice"
    words = ("slice", f"dyno-{app}-", slice_, service.removesuffix(".service"))
    return Command(("sh", "-c", _STOP_SLICE, *words), label=f"stop {slice_}")


def unit_files(*units: str) -> Sequence[str]:
    """Every file of units, in the order of removal: the file that marks the first unit as ours goes last."""
    found: list[str] = []
    for unit in reversed(units):
        found += [f"{root}/{unit}.d" for root in _MORE_ROOTS]
        found += [f"/run/systemd/system/{unit}", f"{paths.UNITS}/{unit}.d", f"{paths.UNITS}/{unit}"]
    return found


def systemctl(*words: str, timeout: int = 60, label: str = "", health: bool = False) -> Command:
    """Run systemctl."""
    label = label or "systemctl " + " ".join(words[:2])
    return Command(("systemctl", *words), timeout=timeout, label=label, health=health)
