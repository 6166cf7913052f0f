"""Thousands of lives of a fleet, each drawn from its seed: whatever happens, every promise holds at every moment, and one
apply without faults makes all of it as it is wanted.

A life that breaks a promise is shrunk and printed with the command that replays it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulation import driver, profile


def story(seed: int) -> str:
    """The shortest life that breaks the same promise as the one of ``seed``."""
    shortest = driver.shrink(driver.operations(seed))
    lines = "".join(f"\n  {operation}" for operation in shortest)
    return f"seed {seed}: {driver.breaks(shortest)}{lines}\nReplay: {profile.REPLAY.format(seed=seed)}"


@pytest.mark.parametrize("chunk", range(profile.APPLIES // profile.CHUNK))
def test_lives(chunk: int, count: Any) -> None:
    if profile.SEED:
        pytest.skip("one life is replayed")
    seed, applies = chunk * profile.APART, 0
    while applies < profile.CHUNK:
        try:
            applies += driver.live(driver.operations(seed)).applies
        except Exception:  # whatever comes out of the engine breaks a promise
            pytest.fail(story(seed), pytrace=False)
        seed += 1
    count(applies)


@pytest.mark.skipif(not profile.SEED, reason="no life is to be replayed")
def test_one_life() -> None:
    seed = int(profile.SEED or 0)
    print(story(seed) if driver.breaks(driver.operations(seed)) else "It breaks no promise.")
    driver.live(driver.operations(seed))
