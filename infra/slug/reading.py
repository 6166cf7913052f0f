"""How far the files of a source have been read, for those who wait for it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from infra.model.stack import Progress
from infra.model.text import size

EVERY = 0.2
"""Seconds between two words about it."""


@dataclass
class Reading:
    """Counts the bytes that are read, and says how many there are by now, and of which file the last ones are."""

    say: Progress
    total: int = 0
    said: float = field(init=False)

    def __post_init__(self) -> None:
        self.said = time.monotonic()
        self.say("Reading the files of the app")

    def add(self, path: bytes, number: int) -> None:
        """Count ``number`` bytes of the file at a path in the source."""
        self.total += number
        now = time.monotonic()
        if now - self.said >= EVERY:
            self.said = now
            self.say(f"Reading the files of the app: {size(self.total)}, now {os.fsdecode(path)}")
