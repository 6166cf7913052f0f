"""The exposure of dynos' units before and after a change, 0 to 10, as rated by ``systemd-analyze security``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from infra.errors import DynoctlError
from infra.model.resource import Command
from infra.model.shell import Session

OFFLINE_AT_LEAST = 250
"""The first version of systemd that can rate a file that is not an installed unit."""

Exposure = Mapping[str, tuple[float | None, float | None]]
"""By process type: before and after; None if there is no unit or no rating."""

# Units are sent to stdin as lines "NAME base64". Each is rated in a temporary directory in /run, which is not on disk.
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
    """Rate unit files in one round trip. ``units`` are the texts before and after, by process type ("" is no unit). A
    rating is None if the server cannot provide it."""
    import base64

    lines = [
        f"{when}_{type_} {base64.b64encode(text.encode()).decode()}"
        for type_, texts in units.items()
        for when, text in zip(("before", "after"), texts, strict=True)
        if text
    ]
    try:
        _, output = session.execute(
            Command(("sh", "-c", _RATE), stdin="".join(f"{line}\n" for line in lines).encode(), timeout=60)
        )
    except DynoctlError:
        output = ""
    found = {match["name"]: float(match["score"]) for match in _ANSWER.finditer(output)}
    return {type_: (found.get(f"before_{type_}"), found.get(f"after_{type_}")) for type_ in units}
