"""Match .slugignore patterns exactly as git matches .gitignore patterns. Paths are bytes."""

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


LONGEST = 4096
"""Bytes of a pattern. No path is longer, so a longer pattern matches nothing."""

MOST = 10_000
"""Rules of a file."""

_NEVER = rb"(?!)"


@dataclass(frozen=True)
class Rule:
    """A pattern. It is matched against the whole path if ``whole`` is true, else against the file name."""

    regex: re.Pattern[bytes]
    negated: bool
    """The pattern starts with ``!``: a match is not ignored."""
    whole: bool
    directories: bool
    """The pattern ends with a slash: it matches directories only."""


def parse(text: bytes) -> tuple[Rule, ...]:
    """The rules of a file, in order."""
    return tuple(rule for line in _lines(text) if (rule := _rule(line)) is not None)


def patterns(text: bytes) -> tuple[bytes, ...]:
    """The lines of a file that are rules, in order: without comments and empty lines."""
    return tuple(line for line in _lines(text) if _rule(line) is not None)


def _lines(text: bytes) -> list[bytes]:
    return [line.removesuffix(b"\r") for line in text.removeprefix(b"\xef\xbb\xbf").split(b"\n")]


def ignored(rules: Iterable[Rule], path: bytes, is_directory: bool) -> bool:
    """Whether the last rule that matches ``path`` ignores it.

    The caller must check parent directories first: the content of an ignored directory is always ignored.
    """
    verdict = False
    name = path.rpartition(b"/")[2]
    for rule in rules:
        if rule.negated is verdict and (is_directory or not rule.directories):
            verdict ^= rule.regex.fullmatch(path if rule.whole else name) is not None
    return verdict


def matches(rule: Rule, path: bytes, is_directory: bool) -> bool:
    """Whether a rule matches a path, negated or not."""
    name = path if rule.whole else path.rpartition(b"/")[2]
    return (is_directory or not rule.directories) and rule.regex.fullmatch(name) is not None


def _rule(line: bytes) -> Rule | None:
    if not line or line.startswith(b"#"):
        return None
    negated = line.startswith(b"!")
    pattern = _without_spaces(line)[negated:]
    directories = pattern.endswith(b"/")
    pattern = pattern[: len(pattern) - directories]
    if not pattern:
        return None
    text = _translate(pattern.removeprefix(b"/")) if len(pattern) <= LONGEST else _NEVER
    regex = re.compile(text, re.DOTALL)
    return Rule(regex, negated, b"/" in pattern, directories)


def _without_spaces(line: bytes) -> bytes:
    """The line without trailing spaces, unless they are escaped with a backslash."""
    stripped = line.rstrip(b" ")
    escaped = (len(stripped) - len(stripped.rstrip(b"\\"))) % 2
    return line[: len(stripped) + escaped]


def _translate(pattern: bytes) -> bytes:
    """The pattern as a regular expression. An invalid pattern never matches, as in git.

    What follows a star matches as early as it can, and never again later: nothing that comes after it can match more
    then. So the time grows with the length of the path, and not with its power. Two stars are tried at each directory,
    with all that follows up to the next two stars."""
    found, at, one, many = b"", 0, 0, 0  # groups that are open: of a star, and of two
    # Two stars match across directories if they are a whole component. After literal text, git treats them as one star.
    plain = next((index for index, byte in enumerate(pattern) if byte in b"*?[\\"), len(pattern))
    while at < len(pattern):
        rest = pattern[at:]
        stars = len(rest) - len(rest.lstrip(b"*"))
        spans = stars > 1 and (at == plain or pattern[at - 1 : at] == b"/")
        if spans and rest[stars : stars + 1] == b"/":
            found, at = found + b")" * (one + many) + rb"(?>(?:.*?/)??", at + stars + 1
            one, many = 0, 1
        elif spans and rest[stars:] == b"":
            found, at = found + rb".*", at + stars
        elif stars:
            found, at = found + b")" * one + rb"(?>[^/]*?", at + stars
            one = 1
        elif rest.startswith(b"?"):
            found, at = found + rb"[^/]", at + 1
        elif rest.startswith(b"["):
            bracket = _bracket(pattern, at + 1)
            if bracket is None:
                return _NEVER
            found, at = found + bracket[0], bracket[1]
        elif rest.startswith(b"\\"):
            if len(rest) == 1:
                return _NEVER
            found, at = found + re.escape(rest[1:2]), at + 2
        else:
            found, at = found + re.escape(rest[:1]), at + 1
    return found + rb"\Z" + b")" * (one + many)


def _bracket(pattern: bytes, at: int) -> tuple[bytes, int] | None:
    """The bracket expression that starts at ``at``, after its ``[``, and the index after it. None if it is not closed
    or names an unknown class: git never matches such a pattern. A bracket expression never matches a slash.

    It is parsed byte by byte as in git's wildmatch.c, because the meaning of a byte depends on the bytes before it."""
    negated = pattern[at : at + 1] in (b"!", b"^")
    start = at = at + negated
    members = before = b""  # before: the byte that may start a range
    while at == start or pattern[at : at + 1] != b"]":
        byte, after = pattern[at : at + 1], pattern[at + 1 : at + 2]
        if byte == b"-" and before and after not in (b"", b"]"):
            at += 1 + (after == b"\\")
            # A reversed range matches only its first byte, which is already a member.
            if before <= pattern[at : at + 1]:
                members += re.escape(before) + b"-" + re.escape(pattern[at : at + 1])
            byte, before = pattern[at : at + 1], b""  # empty at the end of the pattern
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
