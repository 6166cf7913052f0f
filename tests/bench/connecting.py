"""What an ssh_config costs: a plan with nothing to do with one of 200 lines, in turn with the same plan without one."""

from __future__ import annotations

import os
import pwd
import shlex
import statistics
import subprocess
import time
from pathlib import Path

from tests.bench.tools import DYNOCTL, Row

PAIRS = 15
BOUND = 1.05

# The files of this machine stay as they are: in a mount namespace of its own, the process sees other directories.
_RUN = 'mount --bind "$1" "$2" && mount --bind "$3" /etc/ssh && shift 3 && exec "$@"'


def ssh_config(project: Path) -> list[Row]:
    """The rows of the table. ``project`` was applied."""
    user = project / "ssh"
    for name in ("with", "without", "system"):
        (user / name).mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(40):  # as somebody has it who has worked for years: a block per customer, then the defaults
        lines += [f"Host customer-{number} *.customer-{number}.example", "  User admin", f"  Port {2200 + number}"]
        lines += ["  ForwardAgent no", f"  LocalForward {9000 + number} localhost:80"]
    (user / "with/config").write_text("\n".join(lines) + "\n")
    assert len(lines) == 200
    ratios, spent = [], []
    for pair in range(PAIRS + 1):
        times = {name: plan(project, user / name, user / "system") for name in ("with", "without")}
        if pair:  # the first is not counted
            ratios.append(times["with"] / times["without"])
            spent.append(times["with"] - times["without"])
    ratio, more = statistics.median(ratios), statistics.median(spent)
    return [
        (
            "the same plan, with an ssh_config of 200 lines",
            f"{ratio:.3f} x without one ({more * 1000:+.0f} ms), median of {PAIRS} pairs",
            f"at most {BOUND}",
            ratio <= BOUND,
        )
    ]


def plan(project: Path, own: Path, system: Path) -> float:
    """Seconds of a plan that sees ``own`` as the user's .ssh and ``system`` as /etc/ssh."""
    there = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".ssh"
    there.mkdir(mode=0o700, exist_ok=True)
    argv = ["unshare", "--mount", "sh", "-ec", _RUN, "bench", str(own), str(there), str(system), DYNOCTL, "plan"]
    began = time.perf_counter()
    done = subprocess.run(argv, cwd=project, capture_output=True, text=True)
    passed = time.perf_counter() - began
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(argv)} failed:\n{done.stdout}{done.stderr}")
    return passed
