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
    """``uptime`` is in seconds, ``load`` is over 1, 5 and 15 minutes, memory is in bytes. ``taken`` is what
    all dynos of all apps reserve, in thousandths of a core."""

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
grep -Hs -e '^X-Dynoctl-Cpu=' -e '^X-Dynoctl-Idle=' /etc/systemd/system/dyno-*.service
:
"""


def parse(output: str) -> Vitals:
    """Parse the output of the fragment. Raises ValueError or KeyError if it is invalid."""
    values: dict[str, str] = {}
    quotas: dict[str, int] = {}
    idles: set[str] = set()
    for line in output.splitlines():
        key, _, rest = line.partition(" ")
        file, mark, value = key.partition(":X-Dynoctl-")
        name, _, value = value.partition("=")
        if mark and name == "Cpu":
            quotas[file] = quotas.get(file, 0) + (answer.digits(value) or 0)
        elif mark:
            idles.add(file)
        else:
            values[key] = rest
    taken = sum(naming.reserved(cpu, idles=file in idles) for file, cpu in quotas.items())
    last_minute, five, fifteen = (answer.decimal(load) for load in values["load"].split())
    return Vitals(
        uptime=answer.decimal(values["now"]),
        load=(last_minute, five, fifteen),
        cores=int(answer.decimal(values["cores"])),
        memory=int(answer.decimal(values["MemTotal:"])) * 1024,
        available=int(answer.decimal(values["MemAvailable:"])) * 1024,
        taken=taken,
    )
