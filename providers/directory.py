"""The directories that dynoctl creates: the bind target ``/app``, and what others have put into them.

systemd would create ``/app`` silently, so it is planned, and removed with the last app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from infra.model import paths
from infra.model.provider import Fragment, Scope
from infra.model.resource import Attributes, Change, Command, Found
from providers.base import CUT_OFF, Base

MADE = f"{paths.STATE}/.made-app-directory"
"""The file that records that dynoctl created the directory."""


class Directory(Base):
    kind = "directory"
    headline = ("mode",)

    def observe(self, scope: Scope) -> Fragment:
        values = {"path": paths.APP_DIRECTORY, "made": MADE, "app": scope.app, "home": paths.home(scope.app)}
        values["router"] = paths.ROUTER
        values |= {"environments": paths.env_directory(scope.app), "mounts": paths.mounts(scope.app)}
        return Fragment(_SCRIPT, values)

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        found: dict[str, Found] = {}
        stays: dict[str, str] = {}
        for line in output.splitlines():
            words = line.split(" ", 3)
            if words[0] == "kept" and len(words) == 4:
                stays[words[2]] = _why(words[1], words[3])
            elif words[0] == "empty" and words[1] in _created(scope.app):
                found[words[1]] = Found({}, reason="empty")
            elif words[0] == "cut-off":
                found[paths.APP_DIRECTORY] = Found({}, damaged=True, reason=CUT_OFF)
            elif len(words) == 4:
                mode, owner, made, shared = words
                # It may be removed only if dynoctl created it and no dyno of another app binds it.
                managed = made == "made" and shared == "alone"
                found[paths.APP_DIRECTORY] = Found({"mode": mode.zfill(4), "owner": owner}, kept=not managed)
        for path in _created(scope.app):
            if path in stays:
                seen = found.get(path, Found({}, kept=True))
                found[path] = replace(seen, kept=True, stays="" if seen.kept and seen.attributes else stays[path])
        return found

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        path = change.resource.name
        if change.after is None and path != paths.APP_DIRECTORY:
            return [Command(("sh", "-c", f'{paths.DROP}drop "$1"', "drop", path), label=f"remove {path}")]
        if change.after is None:
            return [Command(("sh", "-c", _REMOVE, "remove", paths.APP_DIRECTORY, MADE), label="remove /app")]
        if change.before is not None:
            script = 'chown root:root "$1" && chmod 0755 "$1"'
            return [Command(("sh", "-c", script, "mend", paths.APP_DIRECTORY), label="repair /app")]
        return [Command(("sh", "-c", _MAKE, "make", paths.APP_DIRECTORY, MADE), label="create /app")]


def _created(app: str) -> tuple[str, ...]:
    """The directories that dynoctl creates and removes."""
    mounts, environments = paths.mounts(app), paths.env_directory(app)
    parents = (mounts.rpartition("/")[0], paths.ENVIRONMENTS, paths.STATE, paths.ROUTER.rpartition("/")[0])
    return (paths.APP_DIRECTORY, mounts, environments, *parents)


def _why(what: str, name: str) -> str:
    """Why a directory stays. ``name`` is that of a file in it."""
    if not what.isdecimal():
        return f"which is a {'link' if what == 'link' else 'mount point'} now"
    files = "1 file" if what == "1" else f"{what} files"
    return f"with {files} that dynoctl did not create: {name}{'' if what == '1' else ', ...'}"


_SCRIPT = """\
# What others put into a directory; $2 says whose a name is.
others() {
  count=0 first= empty=yes
  for file in "$1"/* "$1"/.[!.]*; do
    { [ -e "$file" ] || [ -L "$file" ]; } || continue
    name=${file##*/}
    empty=
    "$2" "$file" && continue
    count=$((count + 1)); [ -n "$first" ] || first=$name
  done
  [ $count -eq 0 ] || printf 'kept %s %s %.99s\\n' "$count" "$1" "$(printf %s "$first" | tr -c '[:print:]' '?')"
}
nothing() { return 1; }
table=
mounted() {  # a mount is listed where it really is
  place=$1
  while place=${place%/*}; [ -n "$place" ]; do [ ! -L "$place" ] || { mountpoint -q "$1"; return; }; done
  [ -n "$table" ] || table=$(cat /proc/mounts)
  case $table in *" $1 "*) ;; *) return 1;; esac
}
slug() { case $name in *[!0-9a-f]*) return 1;; *) [ ${#name} -eq 64 ];; esac; }
environment() {
  whole=${name%.dynoctl-new}
  case ${whole%.new} in [a-z]*.[1-9]*.env|[a-z]*.[1-9]*.credentials) ;; *) return 1;; esac
}
shared() { [ -d "$1" ] || case $name in .made-app-directory|.installing-*) ;; *) return 1;; esac; }
look() {
  empty=
  if [ -L "$1" ]; then [ ! -d "$1" ] || printf 'kept link %s -\\n' "$1"
  elif [ ! -d "$1" ]; then :
  elif mounted "$1"; then printf 'kept mount %s -\\n' "$1"
  else others "$@"; fi
}
look_into() { look "$@"; [ -z "$empty" ] || printf 'empty %s\\n' "$1"; }
look_into "$mounts" slug
look_into "$environments" environment
for directory in "${mounts%/*}" "${environments%/*}" "${home%/*}" "${router%/*}"; do look_into "$directory" shared; done
mark=foreign; [ -e "$made" ] && mark=made
shared=alone
set --
for file in /etc/systemd/system/dyno-*.service; do
  [ -e "$file" ] || continue
  if [ -s "$file" ]; then set -- "$@" "$file"; continue; fi
  # An empty file has no mark: it is this app's if its name is that of one of its dynos.
  rest=${file##*/dyno-"$app"-}; rest=${rest%.service}; rest=${rest%-ready}; rest=${rest%-due}
  case ${rest%-*} in "$rest"|*[!a-z0-9]*) shared=shared;; esac
done
if [ ! -d "$path" ]; then
  [ $# -gt 0 ] || [ $shared = shared ] || [ $mark = foreign ] || echo cut-off
  exit 0
fi
[ $# -gt 0 ] && [ -n "$(grep -Lx "X-Dynoctl-App=$app" -- "$@")" ] && shared=shared
stat -L -c "%a %U:%G $mark $shared" "$path"  # it may be a link
[ $mark = foreign ] || look "$path" nothing
"""

_MAKE = """\
umask 022
[ -d "$1" ] && exit 0
mkdir -p "${2%/*}" && : > "$2" && mkdir "$1"
"""

# It is removed only if it is empty; until then the mark says whose it is.
_REMOVE = f"""\
{paths.DROP}
[ -L "$1" ] || [ ! -d "$1" ] || rmdir "$1" || exit
[ -L "$1" ] || {{ rm -f "$2" && drop "${{2%/*}}"; }}
"""


def desired() -> Attributes:
    """The desired attributes, on every server with a dyno."""
    return {"mode": "0755", "owner": "root:root"}
