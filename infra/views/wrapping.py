"""Lines that fit a terminal: they break between words, and go on below what they say."""

from __future__ import annotations

import re
import shutil
from typing import IO

from infra.views.style import PAINT, text_width

_WORD = re.compile(r"( *)((?:(?:\x1b\[\d+m)?[+~↻-](?:\x1b\[0m)? )?[^ ]+)")
"""Blanks and a word; what becomes of a dyno or a resource stays beside its name."""

_PROGRAMS = re.compile(
    r"apt|apt-get|bundle|chmod|df|dpkg|dynoctl|echo|git|journalctl|modprobe|pipx?|ssh(-[a-z]+)*|sshd|sudo|systemctl|visudo"
)
"""What commands in messages begin with."""

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
    if text_width(plain) <= width:
        return line
    if hang is None:
        gap = _GAP.search(plain)
        indent = len(plain) - len(plain.lstrip(" "))
        hang = 0 if gap is None else text_width(plain[: gap.end()])
        hang = hang if 0 < hang <= width // 2 else indent + 2
    lines, column = [""], 0
    for before, text in _pieces(line):
        blanks, word = len(before), text_width(PAINT.sub("", text))
        if column > hang and column + blanks + word > width:
            lines.append(" " * hang + text)
            column = hang + word
        else:
            lines[-1] += before + text
            column += blanks + word
    return "\n".join(lines)


def _pieces(line: str) -> list[tuple[str, str]]:
    """The words of a line, each with the blanks before it. A command that follows a colon or another command, up to the
    end of its clause, is one: whoever copied the half of it might run that. One that is too long for a line is left to
    the terminal."""
    pieces: list[tuple[str, str]] = []
    before, inside, command = "", False, False
    for found in _WORD.finditer(line):
        plain = PAINT.sub("", found[2])
        inside = inside and len(found[1]) == 1
        if inside:
            gap, text = pieces.pop()
            pieces.append((gap, text + found[0]))
        else:
            pieces.append((found[1], found[2]))
            inside = (before.endswith(":") or command) and _PROGRAMS.fullmatch(plain) is not None
        command = inside and plain.endswith(",")
        inside, before = inside and not plain.endswith((";", ",")), plain
    return pieces
