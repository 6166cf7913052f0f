"""The command line: parse arguments, call the engine, pick a view, return the exit code."""

from __future__ import annotations

import sys


def main() -> None:
    """The console script ``dynoctl``."""
    from infra.cli.app import run

    sys.exit(run(sys.argv[1:]))
