"""A simulated apply: the engine with a simulated fleet in the same process, so that only the engine's own work is left.

Run as ``python -m tests.bench.simulated SERVERS``: it prints the CPU seconds of the first release and of the next one,
each of four dynos on every server."""

from __future__ import annotations

import json
import sys
import time

from infra.errors import OK
from infra.manifest.model import Rollout
from tests.simulation.harness import Simulation, manifest

DYNOS = 4


def measured(size: int) -> dict[str, float]:
    """CPU seconds of a first release, of the next one in batches of a tenth, and of a plan with nothing to do."""
    names = [f"s{number}" for number in range(1, size + 1)]
    fleet = Simulation(*names)
    wanted = {
        slug: manifest(*names, web=DYNOS * size, slug=slug, rollout=Rollout("10%", max_failures="2%")) for slug in "ab"
    }
    spent = {}
    for what, slug in (("first release", "a"), ("next release", "b")):
        began = time.process_time()
        outcome = fleet.apply(wanted[slug])
        spent[what] = time.process_time() - began
        if outcome.code != OK:
            raise SystemExit(f"{what} of {size} servers: {outcome.said[:2000]}")
    began = time.process_time()
    if pending := fleet.pending(wanted["b"]):
        raise SystemExit(f"something is left to do: {pending[:5]}")
    return spent | {"nothing to do": time.process_time() - began}


if __name__ == "__main__":
    print(json.dumps(measured(int(sys.argv[1]))))
