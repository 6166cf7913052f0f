"""How exposed a dyno's unit is, before and after: rated by a server's own ``systemd-analyze security``, 0 to 10."""

from __future__ import annotations

import re
from collections.abc import Mapping

from infra.errors import DynoctlError
from infra.model.resource import Command
from infra.model.shell import Session

OFFLINE_AT_LEAST = 250
"""From this version on systemd-analyze rates a file without its being a unit."""

Exposure = Mapping[str, tuple[float | None, float | None]]
"""By process type: before and after; None where there is none, or nobody could say."""

# Units come on stdin as lines "NAME base64"; each is rated from a directory of its own, in /run, which is memory.
_RATE = """\
umask 077
directory=$(mktemp -d /run/dynoctl-exposure.XXXXXX) && cd "$directory" || exit
trap 'cd /; rm -rf "$directory"' EXIT
while read -r name text; do
  printf '%s' "$text" | base64 -d > "$name.service"
  printf '%s ' "$name"
  systemd-analyze security --offline=yes --no-pager "./$name.service" 2>/dev/null | grep 'Overall exposure' || echo
done
"""
_ANSWER = re.compile(r"^(?P<name>\w+) .*: (?P<score>\d+(\.\d+)?) ", re.MULTILINE)


def rate(units: Mapping[str, tuple[str, str]], session: Session) -> Exposure:
    """Rate unit files, given by process type as text before and after ("" is none). One round trip; where the server
    does not say, a rating is None."""
    import base64

    lines = [
        f"{when}_{type_} {base64.b64encode(text.encode()).decode()}"
        for type_, texts in units.items()
        for when, text in zip(("before", "after"), texts, strict=True)
        if text
    ]
    try:
        _, said = session.execute(
            Command(("sh", "-c", _RATE), stdin="".join(f"{line}\n" for line in lines).encode(), timeout=60)
        )
    except DynoctlError:
        said = ""
    found = {match["name"]: float(match["score"]) for match in _ANSWER.finditer(said)}
    return {type_: (found.get(f"before_{type_}"), found.get(f"after_{type_}")) for type_ in units}
