"""The command line: parse, call the engine, choose a view, exit with the code."""

from __future__ import annotations

import sys


def main() -> None:
    """The console script ``dynoctl``."""
    from infra.cli.app import run

    sys.exit(run(sys.argv[1:]))
