"""The command line: parse arguments, call the engine, pick a view, return the exit code."""

from __future__ import annotations

import gc
import sys

from infra import GARBAGE_THRESHOLDS


def main() -> None:
    """The console script ``dynoctl``."""
    gc.set_threshold(*GARBAGE_THRESHOLDS)  # before most is imported
    from infra.cli.app import run

    sys.exit(run(sys.argv[1:]))
