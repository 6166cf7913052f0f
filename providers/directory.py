"""The bind target ``/app``. systemd would create it silently, so it is planned, and removed with the last app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.model import paths
from infra.model.provider import Fragment, Scope
from infra.model.resource import Attributes, Change, Command, Found
from providers.base import Base

MADE = f"{paths.STATE}/.made-app-directory"
"""The file that records that dynoctl created the directory."""


class Directory(Base):
    kind = "directory"
    headline = ("mode",)

    def observe(self, scope: Scope) -> Fragment:
        return Fragment(_SCRIPT, {"path": paths.APP_DIRECTORY, "made": MADE, "app": scope.app})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        words = output.split()
        if len(words) != 4:
            return {}
        mode, owner, made, shared = words
        # It may be removed only if dynoctl created it and no dyno of another app binds it.
        managed = made == "made" and shared == "alone"
        return {paths.APP_DIRECTORY: Found({"mode": mode.zfill(4), "owner": owner}, kept=not managed)}

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        if change.after is None:
            return [Command(("sh", "-c", _REMOVE, "remove", paths.APP_DIRECTORY, MADE), label="remove /app")]
        if change.before is not None:
            script = 'chown root:root "$1" && chmod 0755 "$1"'
            return [Command(("sh", "-c", script, "mend", paths.APP_DIRECTORY), label="repair /app")]
        return [Command(("sh", "-c", _MAKE, "make", paths.APP_DIRECTORY, MADE), label="create /app")]


_SCRIPT = """\
[ -d "$path" ] || exit 0
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
[ $# -gt 0 ] && [ -n "$(grep -Lx "X-Dynoctl-App=$app" -- "$@")" ] && shared=shared
stat -L -c "%a %U:%G $mark $shared" "$path"  # it may be a link
"""

_MAKE = """\
umask 022
[ -d "$1" ] && exit 0
mkdir -p "${2%/*}" && : > "$2" && mkdir "$1"
"""

_REMOVE = """\
rmdir "$1" && rm -f "$2" && { rmdir "${2%/*}" 2>/dev/null; :; }
"""


def desired() -> Attributes:
    """The desired attributes, on every server with a dyno."""
    return {"mode": "0755", "owner": "root:root"}
