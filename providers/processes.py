"""What an app's dynos are doing now: for ``ps``, and for the table at the end of an apply."""

from __future__ import annotations

import re
from collections.abc import Sequence

from infra import marks
from infra.processes import Row
from infra.provider import Fragment, Scope
from providers import shown

_PROPERTIES = "Id,ActiveState,SubState,MainPID,NRestarts,ActiveEnterTimestampMonotonic,MemoryCurrent,BindReadOnlyPaths"


class Processes:
    """Reads the processes of one app on one server, in one fragment."""

    kind = "processes"

    def observe(self, scope: Scope) -> Fragment:
        return Fragment(_SCRIPT, {"prefix": f"dyno-{scope.app}-", "properties": _PROPERTIES})

    def parse(self, scope: Scope, server: str, output: str) -> Sequence[Row]:
        """Every dyno of the app, in order."""
        now = 0.0
        resident: dict[str, int] = {}
        told: dict[tuple[str, str], str] = {}
        properties: list[str] = []
        for line in output.splitlines():
            word, _, rest = line.partition(" ")
            if word == "now":
                now = float(rest)
            elif word == "resident":
                pid, _, kilobytes = rest.partition(" ")
                resident[pid] = int(kilobytes) * 1024
            elif word == "mark":
                unit, _, mark = rest.partition(" ")
                key, _, value = mark.partition("=")
                told[(unit, key)] = value
            else:
                properties.append(line)
        found = []
        units = shown.parse("\n".join(properties))
        for unit, one in units.items():
            named = marks.UNIT_NAME.match(unit.removesuffix(".service"))
            if named is None or f"dyno-{scope.app}-{named['type']}-{named['number']}.service" != unit:
                continue
            ready = units.get(unit.replace(".service", "-ready.service"), {})
            running = one.get("ActiveState") == "active"
            pid = one.get("MainPID", "0")
            memory = one.get("MemoryCurrent", "")
            started = int(one.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
            port = told.get((unit, marks.PORT), "")
            slug = re.search(r"/srv/dyno/[^/]+/([0-9a-f]{64}):/app\b", one.get("BindReadOnlyPaths", ""))
            found.append(
                Row(
                    server=server,
                    dyno=f"{named['type']}.{named['number']}",
                    port=int(port) if port.isdigit() else 0,
                    listen=told.get((unit, marks.LISTEN), ""),
                    state=_word(one, ready),
                    slug=slug[1] if slug else "",
                    pid=int(pid) if running and pid != "0" else None,
                    uptime=int(now - started) if running else None,
                    memory=(int(memory) if memory.isdigit() else resident.get(pid)) if running else None,
                    restarts=int(one.get("NRestarts") or 0),
                )
            )
        return sorted(found, key=lambda row: marks.dyno_order(row.dyno))


def _word(service: shown.Unit, ready: shown.Unit) -> str:
    state = service.get("ActiveState", "")
    if service.get("SubState") == "auto-restart":
        return "crashed"
    if state == "active":
        return {"active": "up", "activating": "starting"}.get(ready.get("ActiveState", ""), "not answering")
    return {"failed": "failed", "activating": "starting", "deactivating": "stopping"}.get(state, "down")


_SCRIPT = """\
read -r now _ < /proc/uptime; printf 'now %s\\n' "$now"
set --
for file in /etc/systemd/system/"$prefix"*.service; do
  [ -e "$file" ] || continue
  set -- "$@" "${file##*/}"
  while IFS= read -r line; do
    case $line in X-Dynoctl-*) printf 'mark %s %s\\n' "${file##*/}" "$line";; '[Service]') break;; esac
  done < "$file"
done
[ $# -gt 0 ] || exit 0
systemctl show -p "$properties" -- "$@"
systemctl show -p MainPID --value -- "$@" | while read -r pid; do
  [ "${pid:-0}" != 0 ] && [ -r "/proc/$pid/status" ] && while read -r key value _; do
    [ "$key" = VmRSS: ] && printf 'resident %s %s\\n' "$pid" "$value" && break
  done < "/proc/$pid/status"
done
:
"""
