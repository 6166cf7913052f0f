"""A slug's mount: a read-only squashfs at ``/srv/dyno/APP/DIGEST``, kept by a systemd mount unit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from infra.model import paths
from infra.model.naming import APP
from infra.model.provider import Fragment, Scope
from infra.model.resource import Attributes, Change, Command, Found
from providers import drop_ins, files, ini, shown
from providers.base import Base
from providers.slug import DIGEST, name

OPTIONS = "ro,nodev,nosuid"

_SHOWN = "Id,FragmentPath,DropInPaths"


class Mount(Base):
    kind = "mount"
    headline = ("unit.Mount.Where", "mounted")

    def observe(self, scope: Scope) -> Fragment:
        # The pattern contains the escaped name, so that ``shop`` does not match the mounts of ``shop-admin``.
        unit = paths.mount_unit(scope.app, "")
        values = {"start": unit.removesuffix(".mount"), "parent": paths.mounts(scope.app), "shown": _SHOWN}
        return Fragment(shown.SHOW + drop_ins.LIST + _SCRIPT, values)

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        texts: dict[str, list[str]] = {}
        properties: list[str] = []
        mounted: dict[str, str] = {}
        parent = ""
        for line in output.splitlines():
            word, _, rest = line.partition(" ")
            file, colon, text = line.partition(".mount:")
            if word == "parent":
                parent = rest
            elif word == "mounted":
                path, _, missing = rest.partition(" ")
                mounted[path] = missing.strip()
            elif colon and "=" not in file:
                texts.setdefault(f"{file}.mount", []).append(text)
            else:
                properties.append(line)
        states, others = shown.parse("\n".join(properties)), drop_ins.parse(properties)
        mounts: dict[str, Found] = {}
        for file, lines in texts.items():
            settings = ini.parse("\n".join(lines))
            if settings.get(f"Unit.{APP}") != scope.app:
                continue
            digest = file.removesuffix(".mount").rpartition("-")[2]
            if not DIGEST.match(digest):
                continue
            mounts[name(scope.app, digest)] = Found(
                {
                    "digest": digest,
                    "unit": settings,
                    "mounted": _mounted(mounted.get(paths.mount(scope.app, digest))),
                    "parent": parent,
                    "drop_ins": others.of(file, states.get(file, {})),
                }
            )
        return mounts

    def spontaneous(self, found: Attributes) -> Collection[str]:
        # After a boot it is mounted with the first dyno that needs it, which may be that of a schedule.
        return ("mounted",) if found.get("mounted") is False else ()

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        digest = str((change.after or change.before or {})["digest"])
        unit = paths.mount_unit(scope.app, digest)
        file = f"{paths.UNITS}/{unit}"
        if change.after is None:
            path = paths.mount(scope.app, digest)
            return [
                Command(("sh", "-c", _STOP, "stop", unit), label=f"unmount {path}"),
                files.remove(file, f"{file}.d"),
                files.systemctl("daemon-reload"),
                Command(("sh", "-c", _RMDIR, "rmdir", path), label=f"remove {path}"),
            ]
        return [
            files.make_directory(paths.mounts(scope.app), "0700"),
            drop_ins.revert(unit),
            files.write(file, ini.render(settings(scope.app, digest)), "0644"),
            files.systemctl("daemon-reload"),
            files.systemctl("start", unit, label=f"mount the slug {digest[:12]}"),
            # With the options of a drop-in that is gone, it would stay mounted.
            Command(("mount", "-o", f"remount,{OPTIONS}", paths.mount(scope.app, digest)), label="set mount options"),
        ]


_SCRIPT = """\
set --
for file in /etc/systemd/system/"$start"*.mount; do
  [ -e "$file" ] || continue
  set -- "$@" "${file##*/}"
done
[ $# -gt 0 ] || exit 0
stat -c 'parent %a %U:%G' "$parent" 2>/dev/null
while read -r device where type options _; do
  case "$type $where" in "squashfs $parent/"*) ;; *) continue;; esac
  missing=
  for option in ro nodev nosuid; do
    case ",$options," in *",$option,"*) ;; *) missing="$missing $option";; esac
  done
  printf 'mounted %s%s\\n' "$where" "$missing"
done < /proc/mounts
cd /etc/systemd/system && grep -H '' -- "$@"
show "$@"
drop_ins mount
:
"""

_STOP = 'systemctl stop "$1" 2>/dev/null; systemctl reset-failed "$1" 2>/dev/null; :'

_RMDIR = """\
[ ! -d "$1" ] || rmdir "$1" || exit
rmdir "${1%/*}" 2>/dev/null; parent=${1%/*}; rmdir "${parent%/*}" 2>/dev/null; :
"""


def _mounted(missing: str | None) -> bool | str:
    return f"without {missing}" if missing else missing is not None


def settings(app: str, digest: str) -> dict[str, str]:
    """The mount unit of one slug."""
    return {
        "Unit.Description": f"slug {digest[:12]} of {app}",
        f"Unit.{APP}": app,
        "Mount.What": paths.slug(app, digest),
        "Mount.Where": paths.mount(app, digest),
        "Mount.Type": "squashfs",
        "Mount.Options": f"loop,{OPTIONS}",
    }


def desired(app: str, digest: str) -> Attributes:
    """The desired mount of one slug."""
    return {"digest": digest, "unit": settings(app, digest), "mounted": True, "parent": "700 root:root", "drop_ins": ()}
