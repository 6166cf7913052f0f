"""Colour where a terminal wants it, plain text everywhere else."""

from __future__ import annotations

import os
import re
from typing import IO

_CODES = {"green": "32", "yellow": "33", "red": "31", "cyan": "36", "bold": "1", "dim": "2"}


_PAINT = re.compile(rf"(\x1b\[(?:0|{'|'.join(_CODES.values())})m)")


def wanted(stream: IO[str]) -> bool:
    """True where ``stream`` is a terminal and NO_COLOR is not set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Style:
    """Paints text, or leaves it as it is."""

    def __init__(self, color: bool) -> None:
        self.color = color

    def __call__(self, name: str, text: str) -> str:
        return f"\x1b[{_CODES[name]}m{text}\x1b[0m" if self.color and text else text


def clean(text: str) -> str:
    """The same for a text that is painted already: of all control characters only our own colours are left."""
    parts = _PAINT.split(text)
    return "".join(part if number % 2 else printable(part) for number, part in enumerate(parts))


def printable(text: str) -> str:
    """``text`` without control characters: what a server or an app says must not drive the user's terminal."""
    return "".join(c if c in "\n\t" or (c.isprintable()) else f"\\x{ord(c):02x}" for c in text)
