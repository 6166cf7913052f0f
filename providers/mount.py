"""A slug's mount: a read-only squashfs at ``/srv/dyno/APP/DIGEST``, kept by a systemd mount unit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from infra.model import paths
from infra.model.naming import APP
from infra.model.provider import Fragment, Scope
from infra.model.resource import NOT_WANTED, Attributes, Change, Command, Found
from providers import drop_ins, files, ini, observed_units
from providers.base import CUT_OFF, Base
from providers.slug import DIGEST, WHOLE, name

OPTIONS = "ro,nodev,nosuid"

_SINCE_BOOT = "InactiveExitTimestampMonotonic"
"""When the mount was first mounted since the server booted; 0: never."""


class Mount(Base):
    kind = "mount"
    headline = ("unit.Mount.Where", "mounted")

    def observe(self, scope: Scope) -> Fragment:
        # On a server whose /srv is a link, the script finds out what it is.
        values = {"parent": paths.mounts(scope.app), "slugs": f"{paths.home(scope.app)}/slugs"}
        return observed_units.shared(scope.app, _SCRIPT, values)

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        """Mounts are known by their exact names: nobody else has units, mounts, directories or loop devices of a
        digest there, so what has no mark (any more) is ours as well."""
        found = observed_units.read(output)
        directories = [path.rpartition("/")[2] for path in found.lines("directory")]
        stale = [path.rpartition("/")[2] for path in found.lines("stale")]
        mounted: dict[str, str] = {}
        for line in found.lines("mounted"):
            path, _, missing = line.partition(" ")
            mounted[path.rpartition("/")[2]] = missing.strip()
        loops: dict[str, list[str]] = {}
        for line in found.lines("loop"):
            device, _, path = line.partition(" ")
            digest = path.removesuffix(" (deleted)").rpartition("/")[2].removesuffix(".squashfs")
            loops.setdefault(digest, []).append(device)
        parent, root = ["", *found.lines("parent")][-1], [paths.MOUNTS, *found.lines("root")][-1]
        start = paths.mount_unit(scope.app, "", root).removesuffix(".mount")
        files_ = {_digest(name): f"{name}.mount" for name in found.names(".mount") if name.startswith(start)}
        mounts: dict[str, Found] = {}
        for digest in dict.fromkeys([*files_, *directories, *mounted, *loops]):
            if DIGEST.match(digest):
                file = paths.mount_unit(scope.app, digest, root)
                unit = found.settings(files_.get(digest, ""))
                # After a boot it is mounted with the first dyno that needs it, which may be an idle one.
                waits = bool(unit) and digest not in mounted and found.state(file).get(_SINCE_BOOT) == "0"
                mounts[name(scope.app, digest)] = Found(
                    {
                        "digest": digest,
                        "unit": unit,
                        "mounted": waits or (digest not in stale and _mounted(mounted.get(digest))),
                        "parent": parent,
                        "drop_ins": found.drop_ins(file),
                        "loops": tuple(loops.get(digest, ())),
                        "root": root,
                    },
                    reason=NOT_WANTED if unit else CUT_OFF,
                )
        return mounts

    def spontaneous(self, found: Attributes) -> Collection[str]:
        # After a boot it is mounted with the first dyno that needs it, which may be that of a schedule.
        return ("mounted",) if found.get("mounted") is False else ()

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        digest, root = str((change.after or change.before or {})["digest"]), _root(change)
        unit, path = (make(scope.app, digest, root) for make in (paths.mount_unit, paths.mount))
        image = paths.slug(scope.app, digest)
        loops = Command(("sh", "-c", _DETACH, "detach", image), label=f"detach the loop devices of {digest[:12]}")
        if change.after is None:
            return [
                Command(("sh", "-c", _UNMOUNT, "unmount", path, unit), label=f"unmount {path}"),
                *([loops] if (change.before or {}).get("loops") else []),
                Command(("sh", "-c", _RMDIR, "rmdir", path), label=f"remove {path}"),
                files.remove(*files.unit_files(unit), label=f"remove {unit}"),
                files.systemctl("daemon-reload"),
            ]
        return [
            files.make_directory(paths.mounts(scope.app, root), "0700"),
            drop_ins.revert(unit),
            files.write(f"{paths.UNITS}/{unit}", ini.render(settings(scope.app, digest, root)), "0644"),
            files.systemctl("daemon-reload"),
            *([loops] if (change.before or {}).get("loops") else []),
            Command(("sh", "-c", _MOUNT, "mount", path, unit), label=f"mount the slug {digest[:12]}"),
            # With the options of a drop-in that is gone, it would stay mounted.
            Command(("mount", "-o", f"remount,{OPTIONS}", path), label="set mount options"),
        ]


# A mount whose image was replaced, or is not whole, is stale.
_STALE = f"""\
{WHOLE}
stale() {{
  [ "$2" = squashfs ] || return 0
  {{ IFS= read -r image < "/sys/block/${{1##*/}}/loop/backing_file"; }} 2>/dev/null || return 1
  case $image in *' (deleted)') return 0;; esac
  ! whole "$image"
}}
"""

# A loop device that systemd set up goes by itself; one that was set up by hand stays. On servers that share a kernel,
# the devices of the others are seen as well, so the file system and the inode must be those of our file. A file that
# was deleted has no inode to compare: it may have been created again since.
_LOOPS = """\
loops() {
  # The kernel shows where the file really is.
  case $1 in */) set -- "$(readlink -m "$1")/";; *) set -- "$(readlink -m "$1")";; esac
  place=
  for set in $(grep -ls "^$1" /sys/block/loop*/loop/backing_file); do
    device=${set%/loop/backing_file}; device=/dev/${device##*/}
    { IFS= read -r image < "$set" && read -r clears < "${set%backing_file}autoclear"; } 2>/dev/null || continue
    [ "$clears" = 0 ] && ! grep -qs "^$device " /proc/mounts || continue
    if [ -z "$place" ]; then
      place=$1
      while [ ! -e "$place" ]; do place=${place%/*}; place=${place:-/}; done
      place=$(stat -c %d "$place")
      place=$((place >> 8 & 4095)):$((place & 255 | place >> 12 & 1048320))  # makedev(3)
    fi
    set -- "$1" $(losetup -ln -O BACK-MAJ:MIN,BACK-INO "$device")
    [ "$2" = "$place" ] && { [ ! -e "$image" ] || [ "$3" -eq "$(stat -c %i "$image")" ]; } || continue
    printf 'loop %s %s\\n' "$device" "$image"
  done
}
"""

_SCRIPT = f"""\
{_STALE}{_LOOPS}
if [ -L /srv ] || [ -L /srv/dyno ]; then
  root=$(readlink -m "${{parent%/*}}") parent=$(readlink -m "${{parent%/*}}")/${{parent##*/}}
  printf 'root %s\\n' "$root"
fi
stat -c 'parent %a %U:%G' "$parent" 2>/dev/null
for path in "$parent"/*; do [ -d "$path" ] && printf 'directory %s\\n' "$path"; done
# The shell reads byte by byte, and each dyno of each app has mounts.
grep -F " $parent/" /proc/mounts | while read -r device where type options _; do
  case $where in "$parent/"*) ;; *) continue;; esac
  missing=
  for option in ro nodev nosuid; do
    case ",$options," in *",$option,"*) ;; *) missing="$missing $option";; esac
  done
  printf 'mounted %s%s\\n' "$where" "$missing"
  stale "$device" "$type" && printf 'stale %s\\n' "$where"
done
loops "$slugs/"
:
"""

# After an unmount that systemd did not do, it needs a moment to notice.
START = """\
here() {
  while read -r device where type _; do [ "$where" != "$1" ] || return 0; done < /proc/mounts
  return 1
}
start() {
  systemctl reset-failed "$2" 2>/dev/null
  tries=0
  while :; do
    systemctl start "$2" || return
    here "$1" && return
    tries=$((tries + 1))
    if [ $tries -ge 50 ]; then echo "systemd has not noticed that $1 was unmounted"; return 1; fi
    sleep 0.1
  done
}
"""
"""A shell function that mounts a path by its unit, and one that finds its ``$device`` and ``$type``."""

# Dynos that run keep a stale mount: they have it in their own namespace.
_MOUNT = f"""\
{_STALE}{START}
while here "$1" && stale "$device" "$type"; do umount -l "$1" || exit; done
start "$1" "$2"
"""

_UNMOUNT = """\
here() { while read -r _ where _; do [ "$where" != "$1" ] || return 0; done < /proc/mounts; return 1; }
systemctl stop "$2" 2>/dev/null  # umount says more if it is busy, and a mount whose unit is damaged goes with it
while here "$1"; do
  umount "$1" && continue
  set -- "$1" /proc/[0-9]*/cwd /proc/[0-9]*/root /proc/[0-9]*/exe /proc/[0-9]*/fd; path=$1; shift
  find "$@" -maxdepth 1 \\( -lname "$path" -o -lname "$path/*" \\) 2>/dev/null |
    cut -d/ -f3 | sort -un | while read -r pid; do
    name=; read -r name 2>/dev/null < "/proc/$pid/comm"
    printf 'in use by process %s (%s)\\n' "$pid" "$name"
  done
  exit 1
done
systemctl reset-failed "$2" 2>/dev/null
:
"""

_DETACH = f"""\
{_LOOPS}
loops "$1" | while read -r _ device _; do losetup -d "$device" || exit; done
"""

# Something may have been written into the directory while nothing was mounted there.
_RMDIR = f"""\
{paths.DROP}
while read -r _ where _; do [ "$where" != "$1" ] || {{ echo "$1 is still mounted"; exit 1; }}; done < /proc/mounts
rm -rf --one-file-system -- "$1" || exit
drop "${{1%/*}}" "${{1%/*/*}}"
"""


def _mounted(missing: str | None) -> bool | str:
    return f"without {missing}" if missing else missing is not None


def _digest(unit: str) -> str:
    return unit.rpartition("-")[2]


def _root(change: Change) -> str:
    """Where the directory of the mounted slugs really is on the server of a change."""
    if change.after is not None:
        unit = change.after["unit"]
        assert isinstance(unit, Mapping)  # noqa: S101  # for mypy
        return str(unit["Mount.Where"]).rsplit("/", 2)[0]
    return str((change.before or {}).get("root") or paths.MOUNTS)


def settings(app: str, digest: str, root: str = paths.MOUNTS) -> dict[str, str]:
    """The mount unit of one slug."""
    return {
        "Unit.Description": f"slug {digest[:12]} of {app}",
        f"Unit.{APP}": app,
        "Mount.What": paths.slug(app, digest),
        "Mount.Where": paths.mount(app, digest, root),
        "Mount.Type": "squashfs",
        "Mount.Options": f"loop,{OPTIONS}",
    }


def desired(app: str, digest: str, root: str = paths.MOUNTS) -> Attributes:
    """The desired mount of one slug."""
    return {
        "digest": digest,
        "unit": settings(app, digest, root),
        "mounted": True,
        "parent": "700 root:root",
        "drop_ins": (),
        "loops": (),
    }
