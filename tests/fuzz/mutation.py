"""Inputs that nobody writes on purpose: seeds that are cut, repeated, mixed and filled with what parsers dislike."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

SOAK = os.environ.get("FUZZ") == "soak"
"""Whether a million inputs are wanted, and not only some thousands."""

LONGEST = 5
"""How many seconds of computing a parser may take for one input."""

TOKENS: Sequence[str] = (
    *("", " ", "\t", "\n", "\r", "\r\n", "\x00", "\x07", "\x08", "\x1b[31m", "\x1b]8;;x\x07", "\x7f", "\x85", "\x9b"),
    *("\u2028", "\u2029", "\u202e", "\u2066", "\u200b", "\ufeff", "\ufffd", "²", "٣", "½", "é", "\U0001f600", "\ud800"),
    *("0", "-1", "1e999", "9" * 30, "0x1f", "0o17", "1_000", "nan", ".inf", "true", "no", "null", "~", "1:3.3+b1"),
    *("{", "}", "[", "]", "(", ")", "<", ">", "&", "&a", "*a", "!", "!!python/object:os.system", "|", ">-", "%", "@"),
    *("#", ":", ": ", "- ", "? ", "---\n", "...", ",", ";", "$", "${X}", "`", "'", '"', "\\", "\\n", "/", "//", "../"),
    *("{from_env: X}", "{from_file: /dev/zero}", "<<: *a", "x-y: 1", "*", "**", "?", "[!", "[[:alpha:]]", "a*" * 12),
    *("postgresql://", "redis://u:p@h:1/0", "?sslmode=", "%2F", "%zz", "@@", "[::1]", "~>", ">=", "=", "!=", "1.2.a"),
    *(
        "65536",
        "99999",
        "-0",
        "00",
        "1.0",
        "1d",
        "90s",
        "10m",
        "2h",
        "1w",
        "-5m",
        "1h 30m",
        "yesterday",
        "*/5",
        "1-7/2",
    ),
)


class Mutator:
    """Mutated texts of some seeds, in an order that a number decides."""

    def __init__(self, seeds: Sequence[str], seed: int) -> None:
        self._seeds = seeds
        self._random = random.Random(seed)

    def text(self) -> str:
        """The next input."""
        chance = self._random
        text = chance.choice(self._seeds)
        for _ in range(chance.choice((1, 1, 2, 3, 6))):
            start = chance.randint(0, len(text))
            end = min(len(text), start + chance.choice((0, 1, 1, 3, 10, 60)))
            match chance.randint(0, 6):
                case 0 | 1 | 2:
                    text = text[:start] + chance.choice(TOKENS) + text[end:]
                case 3:
                    text = text[:start] + text[end:]
                case 4:
                    text = text[:end] + text[start:end] * chance.choice((1, 1, 2, 50)) + text[end:]
                case 5:
                    text = text[:start] + self._piece() + text[end:]
                case _:
                    text = text[:end] + chance.choice((*TOKENS, "a", "1")) * chance.choice((2, 30, 3000)) + text[end:]
        return text[: 1 << 18]

    def line(self) -> str:
        """The next input, on one line."""
        return " ".join(self.text().split("\n"))

    def _piece(self) -> str:
        other = self._random.choice(self._seeds)
        start = self._random.randint(0, len(other))
        return other[start : start + self._random.choice((1, 5, 40))]


def count(usual: int, soak: int) -> int:
    """How many inputs a test tries."""
    return soak if SOAK else usual


@contextmanager
def bounded(what: str) -> Iterator[None]:
    """Raise AssertionError for a parser that takes too long; ``what`` it reads."""

    def ring(_: int, __: FrameType | None) -> None:
        raise AssertionError(f"takes more than {LONGEST} s: {what!r}")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, LONGEST)  # not of the clock: another process may need the processor
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
