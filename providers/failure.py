"""What a server tells of a unit that failed: what systemd says of its end, and the last lines of its log."""

from __future__ import annotations

from infra.model import job_failure, naming
from infra.model.resource import Command

LINES = 200
"""Lines of the log that are searched for the cause."""

FACTS = f"""\
{job_failure.SAID}# How a unit ended, as KEY=VALUE lines; on cgroup v2 also whether one that runs has lost workers.
facts() {{
  systemctl show -p Result,ExecMainCode,ExecMainStatus "$1"
  events=/sys/fs/cgroup$(systemctl show -p ControlGroup --value "$1")/memory.events
  grep -qs '^oom_kill [1-9]' "$events" && echo OutOfMemory=yes
  said_of "$1" | sed 's/^/Said=/'
}}
lines={LINES}
"""

# Only the last invocation: earlier log lines may contain an old secret, which would not be redacted.
_READ = f"""\
{FACTS}journalctl --sync 2>/dev/null
journalctl --namespace="$2" --sync 2>/dev/null
service=$1.service ready=$1-ready.service journal=+$2
id=$(systemctl show -p InvocationID --value "$service")
facts "$service"
systemctl show -p Result "$ready" | sed 's/^/Ready./'
echo
restarts=$(systemctl show -p NRestarts --value "$service")
# In a crash loop the latest start may not have got as far as its error: the earlier ones of the loop have.
if [ "${{restarts:-0}}" != 0 ]; then set -- "_SYSTEMD_UNIT=$service"
elif [ -n "$id" ]; then
  set -- "_SYSTEMD_INVOCATION_ID=$id"
  # journald may not find out the invocation of a process that has ended at once, but it knows the process.
  for pid in $(systemctl show -p ExecMainPID,ExecStartPre,ExecStartPost "$service" |
    sed -n -e 's/^ExecMainPID=//p' -e 's/.* ; pid=\\([0-9]*\\) .*/\\1/p'); do
    [ "$pid" = 0 ] || set -- "$@" + "_SYSTEMD_UNIT=$service" "_PID=$pid"
  done
else exit 0; fi
check=$(systemctl show -p InvocationID --value "$ready")
[ -z "$check" ] || set -- "$@" + "_SYSTEMD_INVOCATION_ID=$check"
exec journalctl -q --no-pager --namespace="$journal" -o cat -n "$lines" "$@"
"""


def read(app: str, unit: str) -> Command:
    """A command that prints how a dyno's unit and its companion ended, and their log."""
    return Command(("sh", "-c", _READ, "journal", unit, naming.log_namespace(app)), label="read its journal")
