"""A launch file (rackup or app server configuration): stored once per content, bound read-only into dynos."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from infra.model import paths
from infra.model.provider import Fragment, Scope
from infra.model.resource import Attributes, Change, Command, Found
from providers import files
from providers.base import Base
from providers.slug import DIGEST, name


class LaunchFile(Base):
    """Launch files of one kind, in a directory of their own."""

    headline = ("mode",)

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def observe(self, scope: Scope) -> Fragment:
        files_ = Fragment(_SCRIPT, {"home": paths.home(scope.app)})
        return Fragment("", {}, {_SECTION: files_})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        modes: dict[str, str] = {}
        found: dict[str, Found] = {}
        for line in output.splitlines():
            first, _, rest = line.partition(" ")
            path = rest.strip()
            directory, _, file = path.removesuffix(".rb").rpartition("/")
            if directory != paths.launch_files(scope.app, self.kind) or not DIGEST.match(file):
                continue  # not one of our files
            if DIGEST.match(first):
                found[name(scope.app, file)] = Found({"name": file, "digest": first, "mode": modes.get(file, "")})
            else:
                modes[file] = first.zfill(4)
        return found

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        path = paths.launch_file(scope.app, self.kind, str((change.after or change.before or {})["name"]))
        if change.after is None:
            return [files.remove(path)]
        # Only root can enter the directory. Dynos read the file through a bind mount, so the file itself is readable.
        return [files.write(path, change.resource.content, "0444", label=f"write the {self.kind.replace('_', ' ')}")]


_SECTION = "launch_files"
"""The section in which those of all kinds are printed."""

_SCRIPT = """\
set --
for file in "$home"/*/*.rb; do [ ! -e "$file" ] || set -- "$@" "$file"; done
[ $# -eq 0 ] || { stat -c '%a %n' "$@"; sha256sum "$@"; }
:
"""


def digest(text: str) -> str:
    """The name of the file: the sha256 of its text."""
    return hashlib.sha256(text.encode()).hexdigest()


def desired(text: str) -> Attributes:
    """The desired attributes of one launch file."""
    return {"name": digest(text), "digest": digest(text), "mode": "0444"}
