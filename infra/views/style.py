"""Colour on terminals, plain text everywhere else; durations; and escaping of untrusted text."""

from __future__ import annotations

import os
import re
from typing import IO
from unicodedata import category, east_asian_width

_CODES = {"green": "32", "yellow": "33", "red": "31", "cyan": "36", "bold": "1", "dim": "2"}


_COMMAND = re.compile(r"^[ \t]*::(?=[A-Za-z])|##(?=[\w-]*\[)", re.MULTILINE)
PAINT = re.compile(rf"(\x1b\[(?:0|{'|'.join(_CODES.values())})m)")
"""Our own colours."""


def wanted(stream: IO[str]) -> bool:
    """Whether ``stream`` is a terminal and NO_COLOR is not set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Style:
    """Colours text, or returns it unchanged if colour is off.

    Yellow and cyan are hard to read on a light background: they are for marks and states, and sentences are bold."""

    def __init__(self, color: bool) -> None:
        self.color = color

    def __call__(self, name: str, text: str) -> str:
        return f"\x1b[{_CODES[name]}m{text}\x1b[0m" if self.color and text and name else text


def clean(text: str) -> str:
    """A line that may contain our own colours, with all other control characters escaped, line ends too."""
    parts = PAINT.split(text)
    return "".join(part if number % 2 else one_line(part) for number, part in enumerate(parts))


def printable(text: str) -> str:
    """``text`` with control characters escaped, as text of a server or an app must not control the terminal, and with
    the commands of CI logs escaped: ``::error::`` at the start of a line, ``##[...]`` and ``##vso[...]`` anywhere."""
    if not text.isprintable():
        text = "".join(c if c in "\n\t" or c.isprintable() else _escaped(ord(c)) for c in text)
    return _COMMAND.sub(lambda found: found[0][:-1] + f"\\x{ord(found[0][-1]):02x}", text)


def _escaped(number: int) -> str:
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def one_line(text: str) -> str:
    """``text`` in one line, with control characters escaped, line ends and tabs too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def text_width(text: str) -> int:
    """The columns of a terminal that a text without colours takes: East Asian characters and emoji take two, and
    marks on another character none."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if category(character) in ("Mn", "Me"):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def duration(seconds: float) -> str:
    """``850 ms``, ``2.4 s``, ``3m 20s``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {rest}s"
