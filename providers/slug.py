"""A slug's image on a server: content-addressed, root only, sent once and never overwritten."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from infra.model import paths
from infra.model.provider import Fragment, Scope
from infra.model.resource import Attributes, Change, Command, Found
from providers import files
from providers.base import Base

DIGEST = re.compile(r"^[0-9a-f]{64}$")


class Slug(Base):
    kind = "slug"
    headline = ("digest",)

    def observe(self, scope: Scope) -> Fragment:
        return Fragment(_SCRIPT, {"directory": f"{paths.home(scope.app)}/slugs"})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        slugs: dict[str, Found] = {}
        for line in output.splitlines():
            size, mode, owner, path = line.split(" ", 3)
            if size == "0":
                continue  # left by a power cut; it is sent again
            digest = path.rpartition("/")[2].removesuffix(".squashfs")
            if not DIGEST.match(digest):
                continue  # not one of our files
            slugs[name(scope.app, digest)] = Found({"digest": digest, "mode": mode.zfill(4), "owner": owner})
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


_SCRIPT = """\
for image in "$directory"/*.squashfs; do
  [ -e "$image" ] && stat -c '%s %a %U:%G %n' "$directory"/*.squashfs
  break
done
:
"""


def name(app: str, digest: str) -> str:
    """The resource's name: the app and the first 12 digits of the digest."""
    return f"{app}@{digest[:12]}"


def desired(digest: str) -> Attributes:
    """The desired image of one slug."""
    return {"digest": digest, "mode": "0600", "owner": "root:root"}
