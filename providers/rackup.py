"""The rackup made from the manifest: one file per content, bound read-only into each dyno."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from infra.provider import Fragment, Scope
from infra.resource import Attributes, Change, Command
from providers import files, paths
from providers.base import Base
from providers.slug import DIGEST, name


class Rackup(Base):
    kind = "rackup"
    headline = ("mode",)

    def observe(self, scope: Scope) -> Fragment:
        return Fragment(_SCRIPT, {"directory": f"{paths.home(scope.app)}/rackups"})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Attributes]:
        modes: dict[str, str] = {}
        rackups: dict[str, Attributes] = {}
        for line in output.splitlines():
            first, _, rest = line.partition(" ")
            path = rest.strip()
            file = path.rpartition("/")[2].removesuffix(".ru")
            if not DIGEST.match(file):
                continue  # a file that somebody put there
            if DIGEST.match(first):
                rackups[name(scope.app, file)] = {"name": file, "digest": first, "mode": modes.get(file, "")}
            else:
                modes[file] = first.zfill(4)
        return rackups

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        path = paths.rackup(scope.app, str((change.after or change.before or {})["name"]))
        if change.after is None:
            return [files.remove(path)]
        # Its directory is root's alone; a dyno reads the file through its bind, so the file itself is open.
        return [files.write(path, change.resource.content, "0444", says="write the rackup")]


_SCRIPT = """\
for file in "$directory"/*.ru; do
  [ -e "$file" ] && stat -c '%a %n' "$directory"/*.ru && sha256sum "$directory"/*.ru
  break
done
:
"""


def digest(text: str) -> str:
    """What names the file: sha256 of its text."""
    return hashlib.sha256(text.encode()).hexdigest()


def desired(text: str) -> Attributes:
    """One rackup file."""
    return {"name": digest(text), "digest": digest(text), "mode": "0444"}
