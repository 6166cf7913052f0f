"""What a name that does not exist is likely meant to be."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher, get_close_matches


def nearest(name: str, choices: Sequence[str], cutoff: float = 0.6) -> str:
    """The choice that a name is likely meant to be; "" if none is, or if several are as near. ``cutoff`` is the least
    ratio of ``difflib``."""
    close = get_close_matches(name, choices, 2, cutoff)
    ratios = [SequenceMatcher(None, choice, name).ratio() for choice in close]
    return close[0] if close and len(set(ratios)) == len(ratios) else ""
