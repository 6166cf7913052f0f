"""Lines that fit a terminal: they break between words, and go on below what they say."""

from __future__ import annotations

import re
import shutil
from typing import IO

from infra.views.style import PAINT

_WORD = re.compile(r"( *)((?:(?:\x1b\[\d+m)?[+~↻-](?:\x1b\[0m)? )?[^ ]+)")
"""Blanks and a word; what becomes of a dyno or a resource stays beside its name."""

_GAP = re.compile(r"\S {2,}(?=\S)")


def columns(stream: IO[str]) -> int | None:
    """The width of the terminal that ``stream`` is; None if it is none, and lines may have any length."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def wrapped(text: str, width: int | None, hang: int | None = None) -> str:
    """``text`` in lines of at most ``width`` columns. Where a line goes on, it is indented by ``hang`` columns: by
    default to what follows the first gap in it, such as the second column of a table."""
    if width is None:
        return text
    return "\n".join(_wrapped(line, width, hang) for line in text.split("\n"))


def _wrapped(line: str, width: int, hang: int | None) -> str:
    plain = PAINT.sub("", line)
    if len(plain) <= width:
        return line
    if hang is None:
        gap = _GAP.search(plain)
        indent = len(plain) - len(plain.lstrip(" "))
        hang = gap.end() if gap is not None and gap.end() <= width // 2 else indent + 2
    lines, column = [""], 0
    for found in _WORD.finditer(line):
        blanks, word = len(found[1]), len(PAINT.sub("", found[2]))
        if column > hang and column + blanks + word > width:
            lines.append(" " * hang + found[2])
            column = hang + word
        else:
            lines[-1] += found[0]
            column += blanks + word
    return "\n".join(lines)
