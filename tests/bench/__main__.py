"""``make bench``: every number that dynoctl promises, measured on real servers, with ratios in the same run."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.lab import fleet, needs, server
from infra.lab.state import DATA, LabState
from infra.plan.placement import DesiredDyno, ServerCapacity, place
from tests.bench.connecting import ssh_config
from tests.bench.layers import layers
from tests.bench.rollouts import rollouts
from tests.bench.tools import ROOT, Row, dynoctl, next_address, poll
from tests.bench.watching import watching

LAB = "bench"
SERVERS = 8
RUNS = 5
PEER = "pyinfra==3.10"
PEER_VENV = ROOT / ".venv-bench"


def main() -> int:
    """Print the table; the exit status says whether every bound was reached."""
    needs.check(install=False)
    lab = fleet.up(LAB, SERVERS, say)
    rows: list[Row] = []
    try:
        with tempfile.TemporaryDirectory() as directory:
            project = Path(directory)
            write(project, lab, 32)
            dynoctl(project, "apply", "--auto-approve")
            rows += starts(project)
            rows += no_op(project, lab)
            rows += ssh_config(project)
            rows += security(project, lab)
            rows += watching(project, lab)
            dynoctl(project, "destroy", "--auto-approve")
            rows += new_dyno(project, lab)
            dynoctl(project, "destroy", "--auto-approve")
            rows += layers(project, lab)
            rows += rollouts(project, lab)
            rows += placement()
    finally:  # also what was measured before a failure
        table(rows)
        fleet.down(LAB, say)
    return 0 if all(row[3] for row in rows) else 1


def table(rows: list[Row]) -> None:
    width = max((len(row[0]) for row in rows), default=0)
    print(f"\n{'what':<{width}}  {'measured':<44}  {'must reach':<22}  ")
    for what, measured, bound, reached in rows:
        print(f"{what:<{width}}  {measured:<44}  {bound:<22}  {'ok' if reached else 'MISSED'}", flush=True)


def say(text: str) -> None:
    print(text, file=sys.stderr)


def write(project: Path, lab: LabState, dynos: int, servers: int = SERVERS) -> None:
    """A project like the demo's."""
    grid = [{"name": name, "host": lab.address(name)} for name in lab.servers if name != DATA][:servers]
    manifest = {
        "version": 1,
        "app": {"name": "shop", "source": str(ROOT / "stacks/starters/sinatra")},
        "framework": {"name": "sinatra", "require": "./app", "app": "Shop"},
        "middleware": [{"use": "Ping", "require": "./lib/ping", "args": ["/ping"]}],
        "dynos": {"web": dynos},
        "env": {"GREETING": "hello"},
        "database": {"adapter": "postgresql", "url": {"from_file": str(lab.path / "database_url")}},
        "cache": {"adapter": "redis", "url": {"from_file": str(lab.path / "cache_url")}},
        "servers": grid,
        "ssh": {"user": "root", "key": str(lab.path / "id_ed25519"), "known_hosts": str(lab.path / "known_hosts")},
    }
    (project / "dyno.yaml").write_text(json.dumps(manifest))


def median(work: Callable[[], object], runs: int = RUNS) -> float:
    """The median of whole runs in seconds, after one that is not counted."""
    work()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def starts(project: Path) -> list[Row]:
    floor = median(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
    helps = median(lambda: dynoctl(project, "--help"))
    validates = median(lambda: dynoctl(project, "validate"))
    return [
        ("dynoctl --help", f"{helps:.3f} s ({helps / floor:.1f} x an empty python)", "under 0.25 s", helps < 0.25),
        ("dynoctl validate", f"{validates:.3f} s ({validates / floor:.1f} x)", "under 0.4 s", validates < 0.4),
    ]


def no_op(project: Path, lab: LabState) -> list[Row]:
    """A plan with nothing to do, in turn with the peer that does nothing with as many resources."""
    text = dynoctl(project, "plan")
    if text != "No changes. The servers match dyno.yaml.\n":
        raise SystemExit(f"there is something to do:\n{text}")
    trips = json.loads(dynoctl(project, "plan", "--json"))["round_trips"]
    peer = prepare_peer(project, lab)
    peer()  # the first run makes everything
    ours, theirs = [], []
    for _ in range(3):
        began = time.perf_counter()
        dynoctl(project, "plan")
        middle = time.perf_counter()
        peer()
        ours.append(middle - began)
        theirs.append(time.perf_counter() - middle)
    plan, other = statistics.median(ours), statistics.median(theirs)
    return [
        ("plan, nothing to do, 8 servers x 4 dynos", f"{plan:.2f} s, whole process", "at most 1.2 s", plan <= 1.2),
        (
            f"the same resources, {PEER}",
            f"{other:.1f} s: {other / plan:.1f} times as long",
            "8 times as long",
            other / plan >= 8,
        ),
        (
            "round trips to observe 8 servers",
            f"{trips['execs']} execs on {trips['connections']} connections",
            "1 exec on 1 each",
            trips == {"execs": SERVERS, "connections": SERVERS},
        ),
    ]


def prepare_peer(project: Path, lab: LabState) -> Callable[[], None]:
    """pyinfra in an environment of its own, with an inventory of the same servers and files to put there."""
    if not (PEER_VENV / "bin/pyinfra").exists():
        say(f"Installing {PEER} ...")
        subprocess.run([sys.executable, "-m", "venv", PEER_VENV], check=True)
        subprocess.run([PEER_VENV / "bin/pip", "install", "--quiet", PEER], check=True)
    work = project / "peer"
    work.mkdir()
    (work / "deploy.py").write_text((Path(__file__).parent / "peer.py").read_text())
    for number in (1, 2, 3, 4):
        text = "[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
        (work / f"peer-web-{number}.service").write_text(text)
    for name in ("env", "slug", "rackup"):
        (work / name).write_text("A=1\n" * 10)
    hosts = ", ".join(
        f"({lab.address(name)!r}, {{'ssh_user': 'root', 'ssh_key': {str(lab.path / 'id_ed25519')!r}, "
        f"'ssh_known_hosts_file': {str(lab.path / 'known_hosts')!r}}})"
        for name in lab.servers
        if name != DATA
    )
    (work / "inventory.py").write_text(f"hosts = [{hosts}]\n")
    argv = [str(PEER_VENV / "bin/pyinfra"), "-y", "inventory.py", "deploy.py"]

    def run() -> None:
        done = subprocess.run(argv, cwd=work, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"the peer failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    return run


def new_dyno(project: Path, lab: LabState) -> list[Row]:
    """One dyno more for the demo's app: from the start of apply to its first 200, then its steady share of a core."""
    firsts, wholes = [], []
    for _ in range(3):
        write(project, lab, 4, servers=3)
        dynoctl(project, "apply", "--auto-approve")
        write(project, lab, 5, servers=3)
        first: list[float] = []
        address = next_address(project)
        stop = threading.Event()
        poller = threading.Thread(target=poll, args=(address, first, stop))
        began = time.perf_counter()
        poller.start()
        dynoctl(project, "apply", "--auto-approve")
        wholes.append(time.perf_counter() - began)
        poller.join(timeout=60)
        stop.set()
        firsts.append(first[0] - began)
    first_200, whole = statistics.median(firsts), statistics.median(wholes)
    share = steady_share(project, lab)
    return [
        (
            "a new dyno beside 4 on 3 servers, apply to first 200",
            f"{first_200:.2f} s (apply ends at {whole:.2f} s)",
            "under 2 s",
            first_200 < 2,
        ),
        ("its steady CPU share under load", f"{share:.1f} % of a core", "25 % within 3", abs(share - 25) <= 3),
    ]


def steady_share(project: Path, lab: LabState) -> float:
    """CPU time of the newest dyno over three seconds while it is asked for more than its share."""
    row = next(dyno for dyno in json.loads(dynoctl(project, "ps", "--json"))["dynos"] if dyno["dyno"] == "web.5")
    address = f"http://{row['listen']}:{row['port']}/work?ms=2000"
    for _ in range(8):
        threading.Thread(target=lambda: ask(address), daemon=True).start()
    time.sleep(1.5)

    def used() -> int:
        text = server.execute(lab, row["server"], ["cat", f"/proc/{row['pid']}/stat"]).stdout
        words = text.rpartition(")")[2].split()
        return int(words[11]) + int(words[12])

    began, before = time.perf_counter(), used()
    time.sleep(4)
    spent, passed = used() - before, time.perf_counter() - began
    return spent / os.sysconf("SC_CLK_TCK") / passed * 100


def ask(address: str) -> None:
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            answer.read()
    except (OSError, urllib.error.URLError):
        return


def security(project: Path, lab: LabState) -> list[Row]:
    scores = []
    for row in json.loads(dynoctl(project, "ps", "--json"))["dynos"][:8]:
        unit = "dyno-shop-" + row["dyno"].replace(".", "-") + ".service"
        text = server.execute(lab, row["server"], ["systemd-analyze", "security", "--no-pager", unit]).stdout
        found: Any = re.search(r"exposure level .*: ([\d.]+)", text)
        scores.append(float(found[1]))
    return [("systemd-analyze security, every unit", f"at most {max(scores):.1f}", "at most 1.2", max(scores) <= 1.2)]


def placement() -> list[Row]:
    places = [ServerCapacity(f"s{number}", 4) for number in range(1000)]
    dynos = [DesiredDyno(f"web.{number}", 250) for number in range(1, 10_001)]
    spent = median(lambda: place(dynos, places, {}))
    return [("10,000 dynos placed on 1,000 servers", f"{spent:.3f} s", "under 1 s", spent < 1)]


if __name__ == "__main__":
    sys.exit(main())
