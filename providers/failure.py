"""What a server tells of a unit that failed: the last lines of its log."""

from __future__ import annotations

from infra.model import job_failure
from infra.model.resource import Command


def read(*units: str) -> Command:
    """A command that prints the log of units that failed."""
    return Command(("sh", "-c", _JOURNAL, "journal", *units), label="read its journal")


# Only the last invocation: earlier log lines may contain an old secret, which would not be redacted.
_JOURNAL = f"""\
{job_failure.SAID}journalctl --sync 2>/dev/null
for unit; do
  id=$(systemctl show -p InvocationID --value "$unit")
  restarts=$(systemctl show -p NRestarts --value "$unit")
  # In a crash loop the latest start may not have got as far as its error: the earlier ones of the loop have.
  if [ "${{restarts:-0}}" != 0 ]; then journalctl -q --no-pager -o cat -n 40 "_SYSTEMD_UNIT=$unit"
  elif [ -n "$id" ]; then journalctl -q --no-pager -o cat -n 20 "_SYSTEMD_INVOCATION_ID=$id"; fi
  [ "$(systemctl show -p Result --value "$unit")" = success ] || said_of "$unit" 3
done
"""
