"""What the layers cost: a new dyno of each framework on each app server, and a unit against the same started by hand."""

from __future__ import annotations

import json
import re
import secrets
import statistics
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from infra.lab import network
from infra.lab import server as servers
from infra.lab.run import run
from infra.lab.state import LabState
from infra.manifest import read
from stacks.contract import Tcp
from stacks.launch import launch
from tests.bench.tools import ROOT, Row, dynoctl, next_address, poll

APP_SERVERS = ("thin", "puma", "unicorn")
FRAMEWORKS: dict[str, dict[str, str]] = {
    "sinatra": {"name": "sinatra", "require": "./app", "app": "Shop"},
    "rails": {"name": "rails"},
}
BOUNDS = {"sinatra": 2.0, "rails": 3.0}
RUNS = 3
SECONDS = 2
PORT = 7007

# Unicorn closes every connection after its answer. At thousands a second the asker runs out of ports for one address
# within seconds (28,000 of them, each kept for a minute), and then whoever is asked later looks slow.
# The ports that servers listen on are left out: a dyno cannot listen on one that a connection has.
CONNECTIONS = {
    "net.ipv4.ip_local_port_range": "1024 65535",
    "net.ipv4.ip_local_reserved_ports": f"5000-5999,{PORT}",
    "net.ipv4.tcp_tw_reuse": "1",
}


def write(project: Path, lab: LabState, framework: str, server: str, dynos: int, cpu: float = 0.25) -> None:
    """A starter on one app server."""
    (project / "secret").write_text("0" * 128)
    manifest: dict[str, Any] = {
        "version": 1,
        "app": {"name": "layers", "source": str(ROOT / "stacks/starters" / framework)},
        "app_server": {"name": server},
        "framework": FRAMEWORKS[framework],
        "dynos": {"web": {"count": dynos, "cpu": cpu}},
        "database": {"adapter": "postgresql", "url": {"from_file": str(lab.path / "database_url")}},
        "cache": {"adapter": "redis", "url": {"from_file": str(lab.path / "cache_url")}},
        "servers": [{"name": name, "host": lab.address(name)} for name in lab.grid[:3]],
        "ssh": {"user": "root", "key": str(lab.path / "id_ed25519"), "known_hosts": str(lab.path / "known_hosts")},
    }
    if framework == "rails":
        manifest["env"] = {"SECRET_KEY_BASE": {"from_file": "secret"}}
        manifest["app"]["build"] = ["SECRET_KEY_BASE=none bin/rails assets:precompile"]
        manifest["builder"] = lab.grid[0]
    (project / "dyno.yaml").write_text(json.dumps(manifest))


def layers(project: Path, lab: LabState) -> list[Row]:
    """The rows of the table."""
    rows: list[Row] = []
    for framework in FRAMEWORKS:
        for server in APP_SERVERS:
            first, whole = new_dyno(project, lab, framework, server)
            bound = BOUNDS[framework]
            what = f"a new {framework} dyno on {server}, apply to first 200"
            rows.append((what, f"{first:.2f} s (apply ends at {whole:.2f} s)", f"under {bound:.0f} s", first < bound))
    for server in APP_SERVERS:
        ours, byhand = against_hand(project, lab, server)
        measured = f"{ours:.0f} requests/s: {ours / byhand:.3f} of {byhand:.0f} by hand"
        rows.append((f"sinatra on {server}, through the unit", measured, "at least 0.97", ours / byhand >= 0.97))
        dynoctl(project, "destroy", "--auto-approve")
    return rows


def new_dyno(project: Path, lab: LabState, framework: str, server: str) -> tuple[float, float]:
    """Medians of whole runs in seconds, from one dyno to two: to the first 200, and to the end of apply."""
    firsts, wholes = [], []
    for _ in range(RUNS):
        write(project, lab, framework, server, 1)
        dynoctl(project, "apply", "--auto-approve")
        write(project, lab, framework, server, 2)
        first: list[float] = []
        address, stop = next_address(project) + "up", threading.Event()
        poller = threading.Thread(target=poll, args=(address, first, stop))
        began = time.perf_counter()
        poller.start()
        dynoctl(project, "apply", "--auto-approve")
        wholes.append(time.perf_counter() - began)
        poller.join(timeout=60)
        stop.set()
        firsts.append(first[0] - began)
    return statistics.median(firsts), statistics.median(wholes)


def against_hand(project: Path, lab: LabState, server: str) -> tuple[float, float]:
    """Requests a second of a dyno with its share lifted, and of the same command on the same server without systemd."""
    write(project, lab, "sinatra", server, 1, cpu=2)
    dynoctl(project, "apply", "--auto-approve")
    row = json.loads(dynoctl(project, "ps", "--json"))["dynos"][0]
    place = f"/tmp/hand-{secrets.token_hex(4)}"
    argv = launch(read(project / "dyno.yaml")).argv(Tcp(row["listen"], PORT))
    byhand = " ".join(argv).replace("/app/.dynoctl", place)
    start = f"""
mkdir {place} && cp /var/lib/dynoctl/layers/rackups/*.rb {place}/config.ru
cp /var/lib/dynoctl/layers/server_configs/*.rb {place}/server.rb
# In the server's own control group, as a login's would be: else it would compete for the CPU from outside.
systemd-run --quiet --collect --unit=by-hand --working-directory="$(echo /srv/dyno/layers/*)" \\
  -E LANG=C.UTF-8 -E HOME=/tmp -E RACK_ENV=production -E RAILS_ENV=production {byhand}
"""
    servers.execute(lab, row["server"], ["sh", "-c", start])
    try:
        host = row["listen"]
        first: list[float] = []
        poll(f"http://{host}:{PORT}/up", first, threading.Event())
        asker = network.namespace(lab, next(name for name in lab.grid if name != row["server"]))
        run(["ip", "netns", "exec", asker, "sysctl", "-q", *(f"{key}={value}" for key, value in CONNECTIONS.items())])
        ports = (row["port"], PORT)
        # Each goes first as often as the other; the first round only warms up.
        rounds = [{port: rate(asker, host, port) for port in ports[:: (-1) ** n]} for n in range(2 * RUNS + 1)][1:]
    finally:
        servers.execute(lab, row["server"], ["sh", "-c", f"systemctl stop by-hand; rm -r {place}"])
    unit_rate, hand_rate = (statistics.median(one[port] for one in rounds) for port in ports)
    return unit_rate, hand_rate


def rate(asker: str, host: str, port: int) -> float:
    """Requests a second for the app's cheapest path, over eight connections, asked from a network namespace."""
    argv = ["ip", "netns", "exec", asker, "wrk", "-t1", "-c8", f"-d{SECONDS}s", f"http://{host}:{port}/up"]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if found is None or "Non-2xx" in text:
        raise SystemExit(f"wrk did not measure:\n{text}")
    return float(found[1])
