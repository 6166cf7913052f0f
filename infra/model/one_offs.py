"""The one-off dynos that are under way on a server: what they need is kept until they end."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Files first: a server without one-off dynos starts no process for this.
SCRIPT = """\
set --
for file in /run/systemd/transient/dynoctl-*-"$app".*.service /run/systemd/system/dynoctl-*-"$app".*.service; do
  [ -e "$file" ] && set -- "$@" "${file##*/}"
done
[ $# -eq 0 ] || systemctl show -p Id,ActiveState,BindReadOnlyPaths -- "$@" | while IFS= read -r line; do
  printf 'one-off %s\\n' "$line"
done
"""

_SLUG = re.compile(r"/srv/dyno/[^/ ]+/([0-9a-f]{64}):/app\b")


@dataclass(frozen=True)
class OneOff:
    """A one-off dyno under way, and the digest of its slug."""

    name: str
    """``run.482913``, or ``release command``."""
    slug: str


def read(output: str, app: str) -> tuple[OneOff, ...]:
    """Parse the output of the script, and ignore other lines. A candidate does not count: its apply ends it."""
    lines = [line.removeprefix("one-off ") for line in output.splitlines() if line.startswith("one-off ")]
    found = []
    for block in "\n".join(lines).split("\n\n"):  # an empty line is between two units
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        named = re.match(rf"^dynoctl-(run|release)-{re.escape(app)}\.([0-9a-z]+)\.service$", unit.get("Id", ""))
        if named is not None and unit.get("ActiveState") not in ("inactive", "failed"):
            slug = _SLUG.search(unit.get("BindReadOnlyPaths", ""))
            name = f"run.{named[2]}" if named[1] == "run" else "release command"
            found.append(OneOff(name, slug[1] if slug else ""))
    return tuple(found)
