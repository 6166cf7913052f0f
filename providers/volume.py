"""A volume: a directory with the app's group that outlives every dyno. It is never removed. With a size, a file system
in an image of that size is mounted there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from infra.model import answer, naming, paths
from infra.model.provider import Brief, Fragment, Scope
from infra.model.resource import Attribute, Attributes, Change, Command, Found
from infra.model.volume import OTHER, REMOVED, volume_image, volume_name, volume_path, volume_unit
from providers import drop_ins, files, ini, observed_units
from providers.base import Base
from providers.mount import START

CREATE_TIMEOUT = 600
"""Seconds to mount its file system and to change the group of its files."""

OPTIONS = "nodev,nosuid"

MODE = "2770"
"""Setgid, so that new files get the app's group."""


def group(app: str) -> str:
    """The group of the app's volumes. A dyno's user has a group of its own, which must be another one: an app named
    ``shop-web-1`` must not share its files with the dyno web.1 of ``shop``."""
    name = f"dyno-{app}"
    return f"dynos-{app}" if naming.UNIT_NAME.match(name) else name


# A program may ask for a mode that no umask makes writable for the group, as SQLite asks for 0644. Only the owner of a
# file can mend that, who may be gone when the next process opens it. A file that was meant to be private, or read-only,
# stays so. It is no part of the work of a process, so it has little time.
_SHARE = (
    'exec /usr/bin/timeout 4 /usr/bin/find "$@" -xdev -type f -user "$(id -u)" -perm -240 ! -perm -020 '
    "-exec /bin/chmod g+w {} +"
)


def share(directories: Iterable[str]) -> tuple[str, ...]:
    """The argv that makes files in volumes writable for all dynos of the app, run by their owner once its process has
    ended."""
    return ("/bin/sh", "-c", _SHARE, "share", *sorted(directories))


class Volume(Base):
    kind = "volume"
    headline = ("mode", "owner", "size")
    brief = Brief(shown=("size", "mode", "owner"), mechanics=("unit",))

    def observe(self, scope: Scope) -> Fragment:
        return observed_units.shared(scope.app, _SCRIPT, {"root": f"{paths.VOLUMES}/{scope.app}"})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        volumes: dict[str, dict[str, Attribute]] = {}
        mounted: dict[str, bool | str] = {}
        units = observed_units.read(output)
        for word in ("directory", "mounted", "image"):
            for line in units.lines(word):
                values, name = line.split(" ")[:-1], line.rpartition("/")[2].removesuffix(".ext4")
                if word == "directory":
                    volumes[name] = {"mode": values[0].zfill(4), "owner": values[1]}
                elif word == "mounted":
                    mounted[name] = _state(*values)
                else:
                    volumes.setdefault(name, {})["size"] = _bytes(values[0])
        found: dict[str, Found] = {}
        for name, attributes in volumes.items():
            unit = volume_unit(scope.app, name)
            if unit in units.texts or "size" in attributes:
                attributes["unit"] = units.settings(unit)
                attributes["mounted"] = mounted.get(name, False)
                attributes["drop_ins"] = units.drop_ins(unit)
                if "size" not in attributes and not attributes["mounted"]:
                    continue  # only the directory that it was mounted on is left
            # Removing it from the manifest keeps its data, and so does destroying the app.
            found[volume_name(scope.app, name)] = Found(attributes, kept=True)
        return found

    def spontaneous(self, found: Attributes) -> Collection[str]:
        # After a boot it is mounted with the first dyno that needs it. Until then the directory below is seen.
        return ("mounted", "mode", "owner") if found.get("mounted") is False else ()

    def triggers(self, change: Change) -> bool:
        return False

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        name = change.resource.name.partition("@")[2]
        path, unit = volume_path(scope.app, name), volume_unit(scope.app, name)
        argv = ("sh", "-c", _MAKE, "make", paths.VOLUMES, path, group(scope.app), MODE)
        made = Command(argv, timeout=CREATE_TIMEOUT, label=f"create the volume {path}")
        wanted = change.after or {}
        if "size" not in wanted:
            return [made]
        settings, size = wanted["unit"], str(wanted["size"])
        assert isinstance(settings, Mapping)  # noqa: S101  # for mypy
        image = Command(("sh", "-c", _IMAGE, "image", path, size), timeout=CREATE_TIMEOUT, label=f"create {path}.ext4")
        grow = Command(("sh", "-c", _MOUNT, "mount", path, unit, size), timeout=CREATE_TIMEOUT, label=f"mount {path}")
        return [
            image,
            *([drop_ins.revert(unit)] if (change.before or {}).get("drop_ins") else []),
            files.write(
                f"{paths.UNITS}/{unit}", ini.render({key: str(value) for key, value in settings.items()}), "0644"
            ),
            files.systemctl("daemon-reload"),
            grow,
            made,
        ]


def _bytes(text: str) -> str:
    """A size that a server said. Raises ValueError if it is none."""
    if (number := answer.digits(text)) is None:
        raise ValueError("invalid size of a volume")
    return str(number)


def _state(what: str, *missing: str) -> bool | str:
    """What is mounted: the image of the volume, with all options."""
    others = {"removed": REMOVED, "other": OTHER}
    return others.get(what) or (f"without {' '.join(missing)}" if missing else True)


# Only root can enter these directories, which may be links to other disks. A dyno sees only its own volumes, bound into
# its sandbox.
#
# What limits a volume is the file system in its image. Its superblock, at byte 1024 of the device (of the image if it
# is not mounted), has the number of blocks, the size of a block and a magic number. mkfs may leave out the last 8 MiB.
_LOOK = """\
on() {
  device= image= held=
  while read -r from where type options _; do
    [ "$where" = "$1" ] && device=$from held=$options
  done < /proc/mounts
  [ -n "$device" ] || return
  { IFS= read -r image < "/sys/block/${device##*/}/loop/backing_file"; } 2>/dev/null
  case $image in "$1.ext4") what=image;; "$1.ext4 (deleted)") what=removed;; *) what=other;; esac
}
size() {
  set -- "$1" $(od -An -v -tu4 --endian=little -j1028 -N56 "$2" 2>/dev/null)
  [ $# -eq 15 ] && [ $((${15} % 65536)) -eq 61267 ] || { echo 0; return; }
  set -- "$1" $(($2 << (10 + $7)))
  [ "$1" -lt "$2" ] || [ $(($1 - $2)) -lt 8388608 ] || set -- "$2"
  echo "$1"
}
"""

_SCRIPT = f"""\
{_LOOK}
for path in "$root"/*/; do
  path=${{path%/}}
  [ -d "$path" ] && stat -L -c 'directory %a %U:%G %n' "$path" || continue
  on "$path" || continue
  for option in nodev nosuid; do
    case ",$held," in *",$option,"*) ;; *) what="$what $option";; esac
  done
  printf 'mounted %s %s\\n' "$what" "$path"
done
for file in "$root"/*.ext4; do
  [ -f "$file" ] || continue
  on "${{file%.ext4}}" && [ "$what" = image ] || device=$file
  printf 'image %s %s\\n' "$(size "$(stat -c %s "$file")" "$device")" "$file"
done
:
"""

# Its file system may not be mounted yet, and an empty directory in its place would hide that. The group may have had
# another name (0.1.0), or another number on the server that the data comes from. -execdir: a dyno of the app may
# replace a directory by a link meanwhile.
_MAKE = """\
umask 077
systemd-run --quiet --wait --collect --property=RequiresMountsFor="$2" /bin/true ||
  { echo "the file system of $2 cannot be mounted"; exit 1; }
getent group "$3" >/dev/null || groupadd --system "$3" || exit
mkdir -p "$2" && chmod 0700 "$1" "${2%/*}" || exit
had=$(stat -L -c %g "$2") && gid=$(getent group "$3" | cut -d: -f3) || exit
if [ "$had" -ne 0 ] && [ "$had" -ne "$gid" ]; then
  find "$2/" -xdev -gid "$had" -execdir chgrp -h "$3" {} + || exit
fi
chown "root:$3" "$2" && chmod "$4" "$2"
"""

_ROOM = """\
room() {
  set -- "$1" $(stat -f -c '%a %b %S' "$2")
  [ $((($2 - $3 / 20) * $4)) -ge "$1" ] && return
  echo "no space left on device: $(($2 * $4 >> 20)) MiB free, $(($1 >> 20)) MiB needed, and 5 % of the disk stays free"
  return 1
}
"""

# The blocks are reserved, so that a full disk does not take them away, and mkfs must not give them back. With resize=,
# the file system can grow in place up to that size.
_IMAGE = f"""\
{_ROOM}
umask 077
path=$1 image=$1.ext4
systemd-run --quiet --wait --collect --property=RequiresMountsFor="${{path%/*}}" /bin/true ||
  {{ echo "the file system of ${{path%/*}} cannot be mounted"; exit 1; }}
mkdir -p "${{path%/*}}" || exit
[ "$(readlink -m "$path")" = "$path" ] || {{ echo "$path leads through a link: nothing is mounted there"; exit 1; }}
[ ! -e "$image" ] || exit 0
new=$image{files.NEW}
rm -f "$new" && room "$2" "${{path%/*}}" && fallocate -x -l "$2" "$new" &&
  mkfs.ext4 -q -F -m 0 -b 4096 -i 16384 -E nodiscard,resize=1T "$new" && sync "$new" && mv "$new" "$image" &&
  sync "${{image%/*}}" || {{ rm -f "$new"; exit 1; }}
"""

# It grows while it is mounted. Some kernels refuse that, such as in a container without CAP_SYS_RESOURCE; it grows
# while nothing uses it, too. Dynos keep a mount that is gone from the server's namespace, and its loop device.
_MOUNT = f"""\
{START}{_LOOK}{_ROOM}
path=$1 unit=$2 wanted=$3 image=$1.ext4
had=$(stat -c %s "$image") || exit
if [ "$had" -lt "$wanted" ]; then
  room $((wanted - had)) "${{image%/*}}" || exit
  fallocate -x -l "$wanted" "$image" || {{ truncate -s "$had" "$image"; exit 1; }}
fi
if ! here "$path"; then
  [ -z "$(ls -A "$path" 2>/dev/null)" ] || {{ echo "$path has files, which the volume would hide"; exit 1; }}
  if [ "$(size "$(stat -c %s "$image")" "$image")" -lt "$wanted" ] && [ -z "$(losetup -j "$image")" ]; then
    said=$(e2fsck -f -p "$image" 2>&1)
    [ $? -le 1 ] && said=$(resize2fs "$image" "$((wanted >> 10))K" 2>&1) || {{ printf '%s\\n' "$said"; exit 1; }}
  fi
  start "$path" "$unit" || exit
fi
on "$path" && [ "$what" = image ] || {{ echo "another file system is mounted at $path"; exit 1; }}
mount -o "remount,{OPTIONS}" "$path" || exit
rmdir "$path/lost+found" 2>/dev/null
losetup -c "$device" && said=$(resize2fs "$device" "$((wanted >> 10))K" 2>&1) && exit
printf '%s\\n' "$said" "stop its dynos with their sockets, then systemctl stop $unit, and apply again"
exit 1
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


def desired(app: str, name: str, size: int) -> Attributes:
    """The desired attributes of a volume. ``size`` is in bytes, 0 is that of the disk it is on."""
    attributes: dict[str, Attribute] = {"mode": MODE, "owner": f"root:{group(app)}"}
    if not size:
        return attributes
    settings = {
        "Unit.Description": f"volume {name} of {app}",
        f"Unit.{naming.APP}": app,
        "Mount.What": volume_image(app, name),
        "Mount.Where": volume_path(app, name),
        "Mount.Type": "ext4",
        "Mount.Options": f"loop,{OPTIONS}",
        "Mount.DirectoryMode": "0700",
    }
    return {**attributes, "size": str(size), "unit": settings, "mounted": True, "drop_ins": ()}
