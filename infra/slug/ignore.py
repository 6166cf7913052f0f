"""Reads a .slugignore as git reads a .gitignore, on bytes, so that what git would leave out never ships."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_CLASSES = {
    b"alnum": rb"0-9A-Za-z",
    b"alpha": rb"A-Za-z",
    b"blank": rb" \t",
    b"cntrl": rb"\x00-\x1f\x7f",
    b"digit": rb"0-9",
    b"graph": rb"!-~",
    b"lower": rb"a-z",
    b"print": rb" -~",
    b"punct": rb"!-/:-@\[-`{-~",
    b"space": rb"\t-\r ",
    b"upper": rb"A-Z",
    b"xdigit": rb"0-9A-Fa-f",
}


@dataclass(frozen=True)
class Rule:
    """One line. It is matched with a whole path, or where it names no directory with the last part alone."""

    regex: re.Pattern[bytes]
    again: bool
    """``!``: what it matches is in after all."""
    whole: bool
    directories: bool
    """It ends in a slash: it matches nothing else."""


def parse(text: bytes) -> tuple[Rule, ...]:
    """The rules of a file, in its order."""
    lines = text.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return tuple(rule for line in lines if (rule := _rule(line.removesuffix(b"\r"))) is not None)


def ignored(rules: Iterable[Rule], path: bytes, is_directory: bool) -> bool:
    """Whether the last rule that matches ``path`` leaves it out.

    To be asked from the root downwards: what is in an ignored directory is ignored, whatever the rules say.
    """
    verdict = False
    name = path.rpartition(b"/")[2]
    for rule in rules:
        if rule.again is verdict and (is_directory or not rule.directories):
            verdict ^= rule.regex.fullmatch(path if rule.whole else name) is not None
    return verdict


def _rule(line: bytes) -> Rule | None:
    if not line or line.startswith(b"#"):
        return None
    again = line.startswith(b"!")
    # Spaces at the end say nothing, unless a backslash keeps them.
    pattern = re.sub(rb"((?:\\.|[^\\])*?) *\Z", rb"\1", line, count=1, flags=re.DOTALL)[again:]
    directories = pattern.endswith(b"/")
    pattern = pattern[: len(pattern) - directories]
    if not pattern:
        return None
    regex = re.compile(_translate(pattern.removeprefix(b"/")), re.DOTALL)
    return Rule(regex, again, b"/" in pattern, directories)


def _translate(pattern: bytes) -> bytes:
    """The pattern as a regular expression; what git never matches becomes one that never matches."""
    found, at = b"", 0
    # Two stars span directories where they are a whole part; git takes them for one after plain text, too.
    plain = next((place for place, byte in enumerate(pattern) if byte in b"*?[\\"), len(pattern))
    while at < len(pattern):
        rest = pattern[at:]
        stars = len(rest) - len(rest.lstrip(b"*"))
        spans = stars > 1 and (at == plain or pattern[at - 1 : at] == b"/")
        if spans and rest[stars : stars + 1] == b"/":
            found, at = found + rb"(?:.*/)?", at + stars + 1
        elif spans and rest[stars:] == b"":
            found, at = found + rb".*", at + stars
        elif stars:
            found, at = found + rb"[^/]*", at + stars
        elif rest.startswith(b"?"):
            found, at = found + rb"[^/]", at + 1
        elif rest.startswith(b"["):
            bracket = _bracket(pattern, at + 1)
            if bracket is None:
                return rb"(?!)"
            found, at = found + bracket[0], bracket[1]
        elif rest.startswith(b"\\"):
            if len(rest) == 1:
                return rb"(?!)"
            found, at = found + re.escape(rest[1:2]), at + 2
        else:
            found, at = found + re.escape(rest[:1]), at + 1
    return found


def _bracket(pattern: bytes, at: int) -> tuple[bytes, int] | None:
    """The set of bytes that begins at ``at``, after its ``[``, and where it ends; None where it does not end, or names
    a class that does not exist: git never matches such a pattern. A slash is in no set, not even in a negated one.

    It is read byte by byte as in git's wildmatch.c, since what a byte means depends on what came before it."""
    negated = pattern[at : at + 1] in (b"!", b"^")
    start = at = at + negated
    members = before = b""  # before: the byte that a range could begin with
    while at == start or pattern[at : at + 1] != b"]":
        byte, after = pattern[at : at + 1], pattern[at + 1 : at + 2]
        if byte == b"-" and before and after not in (b"", b"]"):
            at += 1 + (after == b"\\")
            # Of a range that runs backwards its first byte is left, and that is among the members already.
            if before <= pattern[at : at + 1]:
                members += re.escape(before) + b"-" + re.escape(pattern[at : at + 1])
            byte, before = pattern[at : at + 1], b""  # none where the pattern ends here
        elif byte == b"[" and after == b":" and pattern[at + 2 :].partition(b"]")[0].endswith(b":"):
            end = pattern.find(b"]", at + 2)
            if end < 0 or pattern[at + 2 : end - 1] not in _CLASSES:
                return None
            members += _CLASSES[pattern[at + 2 : end - 1]]
            at, before = end, b""
        else:
            at += byte == b"\\"
            byte = before = pattern[at : at + 1]
            members += re.escape(byte)
        if not byte:
            return None
        at += 1
    return (rb"[^/" if negated else rb"(?!/)[") + members + rb"]", at + 1
