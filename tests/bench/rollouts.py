"""What a rollout costs whoever asks: failed requests, the worst wait, the way back, and the health gate."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

from infra.lab import server as servers
from infra.lab.state import LabState
from tests.bench.layers import write
from tests.bench.tools import Row, dynoctl
from tests.lab.load import Load

DYNOS = 6
REQUESTS = 5000
PARALLEL = 2
GATES = 9


def rollouts(project: Path, lab: LabState) -> list[Row]:
    """The rows of the table: Sinatra, 6 dynos on 3 servers."""
    rows: list[Row] = []
    for server in ("thin", "puma", "unicorn"):
        release(project, lab, server, "first")
        rows += deploys(project, lab, server)
        rows.append(rollback(project, lab, server))
        dynoctl(project, "destroy", "--auto-approve")
    rows.append(gate(project, lab))
    dynoctl(project, "destroy", "--auto-approve")
    return rows


def release(project: Path, lab: LabState, server: str, word: str, dynos: int = DYNOS) -> None:
    write(project, lab, "sinatra", server, dynos)
    manifest = json.loads((project / "dyno.yaml").read_text())
    manifest |= {"env": {"WORD": word}, "rollout": {"max_parallel": PARALLEL, "health": {"path": "/up"}}}
    (project / "dyno.yaml").write_text(json.dumps(manifest))
    dynoctl(project, "apply", "--auto-approve")


def deploys(project: Path, lab: LabState, server: str) -> list[Row]:
    """Rolling deploys under load, until there were requests enough."""
    number = 0
    with Load(json.loads(dynoctl(project, "ps", "--json"))["dynos"]) as load:
        while load.count < REQUESTS:
            number += 1
            release(project, lab, server, f"word-{number}")
    what = f"{number} rolling deploys of {DYNOS} dynos on {server} under load"
    failed, worst = len(load.failures), load.worst
    return [
        (f"{what}: failed requests", f"{failed} of {load.count}", f"0 of {REQUESTS}", not failed),
        (f"{what}: worst latency", f"{worst:.2f} s", "under 1 s", worst < 1),
    ]


def rollback(project: Path, lab: LabState, server: str) -> Row:
    """Whole runs from one release to the other and back, each until all dynos are healthy."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        dynoctl(project, "rollback", "--auto-approve")
        times.append(time.perf_counter() - began)
    took = statistics.median(times)
    what = f"rollback of {DYNOS} dynos on {server}, {PARALLEL} at a time"
    return (what, f"{took:.2f} s, whole process", "under 5 s", took < 5)


# Starts a dyno that is stopped, and prints after how many nanoseconds its first answer came, and after how many systemctl
# said that it is healthy: in the same start, so that both have the same machine.
_GATE = r"""
unit=dyno-layers-web-1 host=$1 port=$2
systemctl stop $unit.service $unit-ready.service; sleep 0.3; began=$(date +%s%N)
{ systemctl start $unit.service $unit-ready.service; echo $(($(date +%s%N) - began)) > /tmp/ready; } &
exec 3<>/dev/tcp/$host/$port; printf 'GET /up HTTP/1.0\r\n\r\n' >&3; read -r line <&3; exec 3>&-
answer=$(($(date +%s%N) - began)); wait
case $line in *' 200 '*) echo "$answer $(cat /tmp/ready)" ;; *) echo "no answer: $line"; exit 1 ;; esac
"""


def gate(project: Path, lab: LabState) -> Row:
    """The health gate of a dyno that is healthy at once: how much later than its first answer systemd calls it so."""
    release(project, lab, "puma", "gate", 1)
    row = json.loads(dynoctl(project, "ps", "--json"))["dynos"][0]
    answers, added = [], []
    for _ in range(GATES):
        done = servers.execute(lab, row["server"], ["bash", "-c", _GATE, "gate", row["listen"], str(row["port"])])
        first, ready = (int(word) / 1e9 for word in done.stdout.split())
        answers.append(first)
        added.append(ready - first)
    gate_ = statistics.median(added)
    measured = f"{gate_ * 1000:.0f} ms after {statistics.median(answers) * 1000:.0f} ms to the first answer"
    return ("the health gate of a dyno that is healthy at once", measured, "under 50 ms", gate_ < 0.05)
