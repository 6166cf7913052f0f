"""The ports of dynos whose units a power cut emptied: their sockets still listen, and the dynos keep their ports."""

from __future__ import annotations

import re

_HELD = re.compile(
    r"^held dyno-[a-z0-9-]*-(?P<type>[a-z][a-z0-9]*)-(?P<number>[1-9][0-9]{0,8})\.socket "
    r"(active|[^ \n]*:(?P<port>[0-9]{1,5}) \(Stream\))$",
    re.MULTILINE,
)

SCRIPT = """\
# A unit that lost its text tells no port, and its socket still listens.
for file in /etc/systemd/system/dyno-"$app"-*.socket; do
  [ -e "$file" ] || [ -L "$file" ] || continue
  rest=${file##*/dyno-"$app"-}; rest=${rest%.socket}
  case ${rest%-*} in *-*) continue;; esac  # of shop-admin, if this is shop
  [ -s "$file" ] && [ -s "${file%.socket}.service" ] && continue
  file=${file##*/}; listens=$(systemctl show -p Listen --value "$file")
  [ -n "$listens" ] || { systemctl -q is-active "$file" "${file%.socket}.service" && listens=active; }
  printf 'held %s %s\\n' "$file" "$listens"
done
"""
"""Shell code that prints what ``read`` reads. ``$app`` is the app."""


def read(output: str) -> dict[str, int]:
    """The ports by dyno; 0 if the dyno listens, and it is not known where."""
    if "held " not in output:  # nearly always, and the output is long
        return {}
    return {f"{held['type']}.{held['number']}": int(held["port"] or 0) for held in _HELD.finditer(output)}
