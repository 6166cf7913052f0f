"""The script that prints why a dyno failed: its last lines, what systemd says, and the memory limit that it hit."""

from __future__ import annotations

from infra.model import job_failure

# Only the last invocation: earlier log lines may contain an old secret, which would not be redacted.
SCRIPT = f"""\
{job_failure.SAID}journalctl --sync 2>/dev/null
for unit; do
  id=$(systemctl show -p InvocationID --value "$unit")
  restarts=$(systemctl show -p NRestarts --value "$unit")
  # In a crash loop the latest start may not have got as far as its error: the earlier ones of the loop have.
  if [ "${{restarts:-0}}" != 0 ]; then journalctl -q --no-pager -o cat -n 40 "_SYSTEMD_UNIT=$unit"
  elif [ -n "$id" ]; then journalctl -q --no-pager -o cat -n 20 "_SYSTEMD_INVOCATION_ID=$id"; fi
  result=$(systemctl show -p Result --value "$unit") said=
  [ "$result" = success ] || said=$(said_of "$unit" 3)
  [ -z "$said" ] || printf '%s\\n' "$said"
  case $result in oom-kill)
    limit=$(systemctl show -p MemoryMax --value "$unit")
    case $limit in
      ''|*[!0-9]*) echo 'killed: out of memory';;
      *) echo "killed: out of memory (limit $((limit / 1048576)) MiB)";;
    esac;;
  esac
done
"""
