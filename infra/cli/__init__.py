"""The command line: parse arguments, call the engine, pick a view, return the exit code."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """The console script ``dynoctl``."""
    # Nearly all that is made while modules are imported stays. By default, Python looks through it 150 times for what
    # may go, which is a tenth of the time that a command needs to start.
    gc.set_threshold(50_000, 20, 20)
    from infra.cli.app import run

    sys.exit(run(sys.argv[1:]))
