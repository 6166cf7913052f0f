"""The load and memory of a server, and its capacity for more dynos."""

from __future__ import annotations

from dataclasses import dataclass

from infra.model import answer, naming
from infra.model.formation import CORE
from infra.model.provider import Fragment

DYNO = CORE // 4
"""The default CPU quota of a dyno, in thousandths of a core."""


@dataclass(frozen=True)
class Vitals:
    """``uptime`` is in seconds, ``load`` is over 1, 5 and 15 minutes, memory is in bytes. ``taken`` is what the
    dynos of all apps reserve in a plan of the app that is looked at, in thousandths of a core."""

    uptime: float
    load: tuple[float, float, float]
    cores: int
    memory: int
    available: int
    taken: int

    def places(self, per_core: int = CORE) -> int:
        """The number of further dynos with the default quota, if each core takes quotas of ``per_core`` thousandths of
        a core."""
        return max(0, self.cores * per_core - self.taken) // DYNO


def fragment() -> Fragment:
    """The sh fragment whose output ``parse`` reads."""
    return Fragment(_SCRIPT, {})


_SCRIPT = """\
read -r now _ < /proc/uptime; printf 'now %s\\n' "$now"
read -r one five fifteen _ < /proc/loadavg; printf 'load %s %s %s\\n' "$one" "$five" "$fifteen"
printf 'cores '; nproc
while read -r key value _; do
  case $key in MemTotal:|MemAvailable:) printf '%s %s\\n' "$key" "$value";; Buffers:) break;; esac
done < /proc/meminfo
grep -Hs -e '^X-Dynoctl-App=' -e '^X-Dynoctl-Cpu=' -e '^X-Dynoctl-Idle=' /etc/systemd/system/dyno-*.service
:
"""


def parse(output: str, app: str) -> Vitals:
    """Parse the output of the fragment. ``app`` is the one that is looked at: its dynos reserve their whole quota, as
    those of others do unless they may be idle. Raises ValueError or KeyError if the output is invalid."""
    values: dict[str, str] = {}
    units: dict[str, dict[str, str]] = {}
    for line in output.splitlines():
        if match := naming.MARK_LINE.match(line):
            units.setdefault(match["file"], {})[match["key"]] = match["value"]
        else:
            key, _, rest = line.partition(" ")
            values[key] = rest
    taken = sum(
        naming.reserved(
            answer.digits(keys.get(naming.CPU, "")) or 0, idles=naming.IDLE in keys and keys.get(naming.APP) != app
        )
        for keys in units.values()
    )
    last_minute, five, fifteen = (answer.decimal(load) for load in values["load"].split())
    return Vitals(
        uptime=answer.decimal(values["now"]),
        load=(last_minute, five, fifteen),
        cores=int(answer.decimal(values["cores"])),
        memory=int(answer.decimal(values["MemTotal:"])) * 1024,
        available=int(answer.decimal(values["MemAvailable:"])) * 1024,
        taken=taken,
    )
