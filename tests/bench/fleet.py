"""``make bench-fleet``: what commands cost with up to a thousand servers, against a bare connection, pyinfra and Ansible.

One sshd answers on as many addresses of the loopback as there are servers, and replays what one real server of a lab
answered. Only the CPU time and the memory of the client count: the rest is this machine's own sshd."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from infra.lab import needs
from tests.bench import peers
from tests.bench.cost import Cost, run
from tests.bench.curve import COLORS, svg
from tests.bench.replayed import gateway, project, record, replay, sshd
from tests.bench.tools import DYNOCTL, ROOT, Row

SIZES = (8, 100, 300, 1000)

LARGE = 1000
"""The number of servers that the bounds are about."""

GATEWAY = 64
"""Servers behind one jump host with the limits of sshd's defaults."""

EACH, GROWTH, MEMORY = 15, 1.1, 400
"""Bounds: milliseconds of CPU time for each server, that of many servers against that of 100, and MiB of memory more than
with 8 servers."""

Measured = dict[str, dict[int, Cost]]
"""By what was measured and the number of servers."""


def measured(work: Path, size: int, port: int) -> Iterator[tuple[str, Cost]]:
    """Each command with ``size`` servers."""
    yield "bare Paramiko", peers.bare(work, size, port)
    for what, state, argv in (
        ("first plan", "first", ["plan"]),
        ("plan --json", "first", ["plan", "--json"]),
        ("no-op plan", "later", ["plan"]),
        ("ps", "later", ["ps"]),
    ):
        replay(work, state)
        cost = run([DYNOCTL, *argv], work)
        refuse_unreachable(what, size, cost)
        if what == "no-op plan" and "No changes." not in cost.output:
            raise SystemExit(f"{what} of {size} servers:\n{cost.output[:3000]}")
        yield what, replace(cost, output="")
    cost = run([sys.executable, "-m", "tests.bench.simulated", str(size)], ROOT)
    for what, seconds in json.loads(cost.output).items():
        yield f"simulated: {what}", replace(cost, cpu=seconds, output="")


def refuse_unreachable(what: str, size: int, cost: Cost) -> None:
    """End the benchmark if a server was not reached: all are up, so it would be the client's own fault."""
    lost = len(re.findall(r"^Unreachable|is unreachable|cannot connect|\"unreachable\": \{\n? *\"", cost.output, re.M))
    if lost:
        raise SystemExit(f"{what} of {size} servers: {lost} unreachable\n{cost.output[:3000]}")


def others(work: Path, size: int, port: int) -> Iterator[tuple[str, Cost]]:
    """The same servers with pyinfra and Ansible, as far as they can be installed, and up to the variable PEERS."""
    if size > int(os.environ.get("PEERS") or size):
        return
    if peers.installed("pyinfra"):
        yield from peers.pyinfra(work, size, port)
    if peers.installed("ansible"):
        yield "Ansible ping", peers.ansible(work, size, port)


def behind_gateway(work: Path, port: int) -> Cost:
    """A first plan of servers behind one jump host."""
    with gateway(work, port) as jump:
        project(work, GATEWAY, port, {"gateway": f"root@127.0.0.1:{jump}"})
        replay(work, "first")
        cost = run([DYNOCTL, "plan"], work)
    refuse_unreachable("first plan behind a jump host", GATEWAY, cost)
    return cost


def bounds(costs: Measured) -> Iterator[Row]:
    """What was measured against what is to be reached, as far as it was measured."""

    def each(what: str, size: int) -> float:
        return costs[what][size].cpu / size * 1000

    for what in ("first plan", "no-op plan"):
        found = costs[what]
        if LARGE in found:
            now = each(what, LARGE)
            yield f"{what}, {LARGE:,} servers", f"{now:.1f} ms each", f"at most {EACH} ms", now <= EACH
        if LARGE in found and 100 in found:
            ratio = each(what, LARGE) / each(what, 100)
            yield f"{what}, {LARGE:,} against 100", f"{ratio:.2f} times", f"at most {GROWTH}", ratio <= GROWTH
        if LARGE in found and 8 in found:
            more = (found[LARGE].memory - found[8].memory) >> 20
            yield f"{what}, memory over that of 8", f"{more} MiB", f"at most {MEMORY} MiB", more <= MEMORY
    size = max(costs["no-op plan"])
    for what, part in (("pyinfra exec", 0.5), ("pyinfra facts", 0.5), ("Ansible ping", 0.1)):
        if size in costs.get(what, {}):
            share = each("no-op plan", size) / each(what, size)
            yield f"no-op plan against {what}, {size:,}", f"{share:.2f} of it", f"at most {part}", share <= part


def line(what: str, size: int, cost: Cost) -> str:
    each, memory = f"{cost.cpu / size * 1000:.1f} ms", f"{cost.memory >> 20} MiB"
    return f"{what:<26} {size:>7} {cost.cpu:>6.1f} s {each:>10} {memory:>9} {cost.processes:>9} {cost.wall:>6.1f} s"


def picture(costs: Measured) -> str:
    """The curves of what can be compared, without the start of a program that hides the rest with few servers."""
    curves: Mapping[str, Mapping[int, float]] = {
        what: {size: cost.cpu / size * 1000 for size, cost in costs[what].items()} for what in COLORS if what in costs
    }
    return svg(curves, EACH)


def main(sizes: Sequence[int]) -> int:
    """Print the tables, and draw the curves into the file that is named by the variable PICTURE."""
    needs.check(install=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing that was started is left
    costs: Measured = {}
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        os.environ["XDG_STATE_HOME"] = str(work / "hints")
        (work / "app").mkdir()
        (work / "app/app.rb").write_text('App = ->(_) { [200, {}, ["hello"]] }\n')
        record(work)
        shutil.rmtree(work / "hints")
        replay(work, "first")
        with sshd(work) as port:
            print(
                f"{'what':<26} {'servers':>7} {'CPU':>8} {'per server':>10} {'memory':>9} {'processes':>9} {'wall':>8}"
            )
            for size in sizes:
                project(work, size, port)
                for what, cost in chain(measured(work, size, port), others(work, size, port)):
                    costs.setdefault(what, {})[size] = cost
                    print(line(what, size, cost), flush=True)
                if path := os.environ.get("PICTURE", ""):
                    Path(path).write_text(picture(costs))
            print(line("first plan, jump host", GATEWAY, behind_gateway(work, port)))
    rows = list(bounds(costs))
    rows.append((f"unreachable, {max(sizes):,} direct or {GATEWAY} behind a jump host", "0", "0", True))
    width = max(len(row[0]) for row in rows)
    print()
    for what, found, bound, reached in rows:
        print(f"{what:<{width}}  {found:<14}  {bound:<16}  {'ok' if reached else 'MISSED'}")
    return 0 if all(row[3] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main([int(word) for word in sys.argv[1:]] or SIZES))
