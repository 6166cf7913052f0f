"""Finds what editors, web pages and other programs leave in a file and is no YAML: conflict markers of git, fences of
Markdown, the marks of a diff, and characters that only look like those of YAML."""

from __future__ import annotations

import re
from collections.abc import Callable

Found = tuple[int, int, str, str]
"""Line and column from 0, what is wrong, and what to do. It never holds text of the file, which may be secret."""

_LINES = (
    (
        re.compile(r"(<{7}|={7}|>{7})(\s|$)"),
        "a conflict marker of git",
        "resolve the conflict, and remove the lines that start with <<<<<<<, ======= and >>>>>>>",
    ),
    (re.compile(r"```"), "a fence of Markdown", "remove the lines that start with ```"),
    (re.compile(r"[$%>] [a-z]+ \S+\.ya?ml"), "a command line of a shell", "remove this line"),
)
_COLUMNS = (
    (re.compile(r"\+"), "a + at the start of each line, as in a diff", "remove the + from all lines"),
    (re.compile(r"\s*[0-9]+[ :|\t]"), "a number at the start of each line", "remove the numbers from all lines"),
)
_LOOKALIKES = {
    **dict.fromkeys("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u202f\u3000", " "),
    **dict.fromkeys("\uff1a\ufe55\ua789", ":"),
    **dict.fromkeys("\uff0c\u3001", ","),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    **dict.fromkeys("\u201c\u201d\u201e\uff02", '"'),
    **dict.fromkeys("\u2018\u2019\uff07", "'"),
    "\uff5b": "{",
    "\uff5d": "}",
    "\uff3b": "[",
    "\uff3d": "]",
    "\uff03": "#",
}
_TABLE = str.maketrans(_LOOKALIKES)
_LOOKALIKE = re.compile(f"[{''.join(_LOOKALIKES)}]")
_PEM = re.compile(r"(\s*(?:- )*[\w.-]+:\s+)-----BEGIN ")


def find(lines: list[str], parses: Callable[[str], int | None]) -> Found | None:
    """The first of them that explains why the file is invalid, or None."""
    for number, line in enumerate(lines):
        for pattern, summary, hint in _LINES:
            if pattern.match(line):
                return number, 0, summary, hint
        if (found := _PEM.match(line)) is not None and "-----END " not in line:
            hint = "write | after the key, and the whole text below it, indented by 2 more than the key"
            return number, found.end(1), "a text of several lines without |", hint
    written = [line for line in lines if line.strip()]
    for pattern, summary, hint in _COLUMNS:
        if len(written) > 1 and all(pattern.match(line) for line in written):
            return 0, 0, summary, hint
    return _lookalike(lines, parses)


def _lookalike(lines: list[str], parses: Callable[[str], int | None]) -> Found | None:
    """The first character that only looks like one of YAML, if the file is valid with the right one, and is not
    without: those of comments and of texts stay as they are."""
    right = [line.translate(_TABLE) for line in lines]
    wrong = [number for number, line in enumerate(lines) if line != right[number]]
    if not wrong or parses("\n".join(right) + "\n") is not None:
        return None
    valid, invalid = 0, len(wrong)  # how many of these lines stay as they are
    while invalid - valid > 1:
        middle = (valid + invalid) // 2
        tried = [*lines[: wrong[middle]], *right[wrong[middle] :]]
        if parses("\n".join(tried) + "\n") is None:
            valid = middle
        else:
            invalid = middle
    return _first(lines[wrong[valid]], wrong[valid])


def _first(line: str, number: int) -> Found | None:
    found = _LOOKALIKE.search(line)
    if found is None:
        return None
    right = _LOOKALIKES[found[0]]
    name = "a space" if right == " " else right
    summary = f"the character U+{ord(found[0]):04X} in place of {name}"
    return number, found.start(), summary, f"replace it by {name}, here and wherever else it is"
