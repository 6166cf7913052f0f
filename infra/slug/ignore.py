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

_BRACKET = re.compile(rb"\[(?P<not>[!^]?)(?P<items>\]?(?:\[:[^\]]*:\]|\\.|[^\]\\])*)\]", re.DOTALL)
_ITEM = re.compile(
    rb"\[:(?P<class>[^\]]*):\]|(?:\\(?P<escaped>.)|(?P<low>.))(?:-(?:\\(?P<to>.)|(?P<high>[^\]\\])))?", re.DOTALL
)


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
            bracket = _BRACKET.match(rest)
            if bracket is None:
                return rb"(?!)"
            found, at = found + _bracket(bracket), at + bracket.end()
        elif rest.startswith(b"\\"):
            if len(rest) == 1:
                return rb"(?!)"
            found, at = found + re.escape(rest[1:2]), at + 2
        else:
            found, at = found + re.escape(rest[:1]), at + 1
    return found


def _bracket(bracket: re.Match[bytes]) -> bytes:
    """A set of bytes; a slash is in none, not even in a negated one."""
    members = b""
    for item in _ITEM.finditer(bracket["items"]):
        if item["class"] is not None:
            if item["class"] not in _CLASSES:
                return rb"(?!)"
            members += _CLASSES[item["class"]]
            continue
        low = item["escaped"] or item["low"]
        high = item["to"] or item["high"] or low
        # Of a range that runs backwards, its first byte is left.
        members += re.escape(low) + b"-" + re.escape(high if low <= high else low)
    if bracket["not"]:
        return rb"[^/" + members + rb"]"
    return rb"(?!/)[" + members + rb"]" if members else rb"(?!)"
