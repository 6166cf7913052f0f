"""A slug's image on a server: content-addressed, root only, sent once and never overwritten."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from infra.model import paths
from infra.model.provider import Fragment, Scope
from infra.model.resource import NOT_WANTED, Attributes, Change, Command, Found
from providers import files
from providers.base import CUT_OFF, Base

DIGEST = re.compile(r"^[0-9a-f]{64}$")


class Slug(Base):
    kind = "slug"
    headline = ("digest",)

    def observe(self, scope: Scope) -> Fragment:
        return Fragment(_SCRIPT, {"directory": f"{paths.home(scope.app)}/slugs"})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        slugs: dict[str, Found] = {}
        for line in output.splitlines():
            state, mode, owner, path = line.split(" ", 3)
            digest = path.rpartition("/")[2].removesuffix(".squashfs")
            if not DIGEST.match(digest):
                continue  # not one of our files
            attributes: Attributes = {"digest": digest, "mode": mode.zfill(4), "owner": owner}
            damaged = state != "whole"
            reason = CUT_OFF if damaged else NOT_WANTED
            slugs[name(scope.app, digest)] = Found(attributes, damaged=damaged, reason=reason)
        return slugs

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        path = paths.slug(scope.app, str((change.after or change.before or {})["digest"]))
        if change.after is None:
            return [files.remove(path)]
        return [
            Command(
                ("sh", "-c", 'chown root:root "$1" && chmod 0600 "$1"', "seal", path),
                label="set owner and mode of the slug",
            )
        ]


WHOLE = """\
# A squashfs begins with a magic number and says at byte 40 how long it is. A power cut or a full disk leaves less.
whole() {
  size=${2:-$(stat -c %s "$1" 2>/dev/null)}
  [ -n "$size" ] && set -- $(od -An -v -tu8 --endian=little -N48 "$1" 2>/dev/null) &&
    [ $# -eq 6 ] && [ $(($1 % 4294967296)) -eq 1936814952 ] && [ "$size" -ge "$6" ]
}
"""

_SCRIPT = f"""\
{WHOLE}
set --
for image in "$directory"/*.squashfs; do [ ! -e "$image" ] || set -- "$@" "$image"; done
[ $# -gt 0 ] || exit 0
stat -c '%s %a %U:%G %n' -- "$@" | while read -r size mode owner image; do
  state=damaged; whole "$image" "$size" && state=whole
  printf '%s %s %s %s\\n' "$state" "$mode" "$owner" "$image"
done
:
"""


def name(app: str, digest: str) -> str:
    """The resource's name: the app and the first 12 digits of the digest."""
    return f"{app}@{digest[:12]}"


def desired(digest: str) -> Attributes:
    """The desired image of one slug."""
    return {"digest": digest, "mode": "0600", "owner": "root:root"}
