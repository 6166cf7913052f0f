"""The load and memory of a server, and its capacity for more dynos."""

from __future__ import annotations

from dataclasses import dataclass

from infra.model.formation import CORE
from infra.model.provider import Fragment

DYNO = CORE // 4
"""The default CPU quota of a dyno, in thousandths of a core."""


@dataclass(frozen=True)
class Vitals:
    """``uptime`` is in seconds, ``load`` over 1, 5 and 15 minutes, memory in bytes; ``taken`` is the CPU quota of all dynos
    of all apps, in thousandths of a core."""

    uptime: float
    load: tuple[float, float, float]
    cores: int
    memory: int
    available: int
    taken: int

    @property
    def places(self) -> int:
        """The number of further dynos with the default quota."""
        return max(0, self.cores * CORE - self.taken) // DYNO


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
grep -hs '^X-Dynoctl-Cpu=' /etc/systemd/system/dyno-*.service
:
"""


def parse(output: str) -> Vitals:
    """Read what the fragment printed. Raises ValueError or KeyError where it makes no sense."""
    said: dict[str, str] = {}
    taken = 0
    for line in output.splitlines():
        word, _, rest = line.partition(" ")
        if word.startswith("X-Dynoctl-Cpu="):
            share = word.partition("=")[2]
            taken += int(share) if share.isdigit() else 0
        else:
            said[word] = rest
    one, five, fifteen = (float(load) for load in said["load"].split())
    return Vitals(
        uptime=float(said["now"]),
        load=(one, five, fifteen),
        cores=int(said["cores"]),
        memory=int(said["MemTotal:"]) * 1024,
        available=int(said["MemAvailable:"]) * 1024,
        taken=taken,
    )
