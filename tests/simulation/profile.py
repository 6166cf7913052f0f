"""How much is simulated: a little in each run of the tests, a million applies in the soak; and how a failure is replayed."""

from __future__ import annotations

import os

NAME = os.environ.get("SIMULATION", "ci")
"""``ci`` or ``soak``."""

SEED = os.environ.get("SIMULATION_SEED", "")
"""The one life that is to be lived again; "" is all of the profile."""

APPLIES = {"ci": 10_000, "soak": 1_000_000}[NAME]
CHUNK = 1_000
"""Applies of one test: enough of them that two workers have the same to do."""

APART = 1_000_000
"""Seeds between the first ones of two chunks."""

EXAMPLES = {"ci": 60, "soak": 3_000}[NAME]
"""Runs of the state machine in which hypothesis chooses and shrinks."""

REPLAY = "SIMULATION_SEED={seed} .venv/bin/python -m pytest tests/simulation/test_lives.py"
