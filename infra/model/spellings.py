"""How programs write a value in their output: as base64 or hex, in a URL, in a shell, in JSON, in Ruby and in HTML."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from html.entities import codepoint2name
from urllib.parse import quote, quote_plus

_LONGEST = 4096
"""Maximum length of what is searched for character by character. A longer value is searched for in pieces."""

_PREFIX = 24
"""Enough characters of an encoded value to find it, also if its end was cut off."""

_SLASHES = r"\\"
"""A shell, JSON and Ruby put a backslash before a character; a text in a text in a text has up to seven."""

_HTML = rf"{_SLASHES}{{0,7}}&(?:amp;)?"
"""The start of an entity, perhaps of a character with a backslash before it: of JSON in a page."""

_BASE64 = re.compile(r"[A-Za-z0-9+/=_%-]")
_LETTERS = {"\n": "n", "\t": "t", "\r": "r", "\x1b": "eE", "\a": "a", "\b": "b", "\f": "f", "\v": "v", "\0": "0"}


def base64_cores(value: str) -> Iterator[str]:
    """What is the same in every base64 text that contains the value, at each of the three positions that it may have
    in a group of three bytes. The characters that also depend on the neighbours are left out."""
    data = value.encode()
    for before in range(3):
        text = base64.b64encode(bytes(before) + data).decode()
        core = text[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]
        for part in {core, core[:_PREFIX], core[-_PREFIX:]}:
            yield from {part, part.translate(str.maketrans("+/", "-_")), quote(part, safe="")}


def hexadecimal(value: str) -> str:
    """The value in hex, lower-case."""
    return value.encode().hex()


def urls(value: str) -> tuple[str, ...]:
    """The value as the usual functions write it into a URL."""
    return quote(value, safe=""), quote(value), quote_plus(value)


def pattern(value: str) -> str:
    """A regular expression of the value with every character as itself or in any escape."""
    return "".join(_character(character) for character in value)


def pieces(value: str) -> list[str]:
    """The value, or parts of about the same length if it is long."""
    size = -(-len(value) // -(-len(value) // _LONGEST)) if value else 1
    return [value[start : start + size] for start in range(0, len(value), size)]


def always(value: str) -> str:
    """The longest part of the value that every escape leaves as it is, in lower case."""
    return max(re.findall(r"[A-Za-z0-9]+", value), key=len, default="").lower()


def is_plain(value: str) -> bool:
    """Whether every program writes the value as it is."""
    return value.isascii() and value.isalnum()


def _character(character: str) -> str:
    if character.isascii() and character.isalnum():
        return character
    code = ord(character)
    data = character.encode(errors="surrogatepass")
    utf16 = character.encode("utf-16-be", errors="surrogatepass")
    units = [int.from_bytes(utf16[at : at + 2], "big") for at in range(0, len(utf16), 2)]
    ways = [
        f"{_SLASHES}{{0,7}}{re.escape(character)}",
        "".join(f"%(?:25){{0,3}}{byte:02x}" for byte in data),  # also a URL in a URL
        "".join(f"{_SLASHES}{{1,7}}x{byte:02x}" for byte in data),
        "".join(f"{_SLASHES}{{1,7}}0?{byte:03o}" for byte in data),
        "".join(f"{_SLASHES}{{1,7}}u{unit:04x}" for unit in units),
        f"{_SLASHES}{{1,7}}u\\{{0*{code:x}\\}}",
        f"{_SLASHES}{{1,7}}U{code:08x}",
        f"{_HTML}#0*{code};",
        f"{_HTML}#x0*{code:x};",
    ]
    if code < 256:
        ways.append(f"{_SLASHES}{{1,7}}x{code:02x}")
    if code in codepoint2name:
        ways.append(f"{_HTML}{codepoint2name[code]};")
    if character in _LETTERS:
        ways.append(f"{_SLASHES}{{1,7}}[{_LETTERS[character]}]")
    if character == " ":
        ways.append(r"\+")
    if character == "'":
        ways += [rf"'{_SLASHES}{{1,7}}''", "'\"'\"'", f"{_HTML}apos;"]
    return f"(?:{'|'.join(ways)})"


def mask_encoded(text: str, cores: Iterable[str], digits: Iterable[str], mask: str) -> str:
    """``text`` without the base64 and hex texts that contain one of the values, also if they are wrapped or spaced."""
    text = _mask_found(text, r"[\r\n]+[ \t]*|\\n", cores, mask, whole=True)
    return _mask_found(text, r"\\x|0x|[\s:,-]", digits, mask, whole=False)


def _mask_found(text: str, ignored: str, wanted: Iterable[str], mask: str, *, whole: bool) -> str:
    """``whole``: mask the base64 text around what was found, which depends on the value as well."""
    view = re.sub(ignored, "", text)
    if not whole:
        view = view.lower()
    found = [core for core in wanted if core in view]
    if not found or len(view) > len(text):
        return text
    places: list[int] = []  # of each character of the view in the text
    end = 0
    for gap in re.finditer(ignored, text):
        places.extend(range(end, gap.start()))
        end = gap.end()
    places.extend(range(end, len(text)))
    spans = []
    for core in found:
        at = view.find(core)
        while at >= 0:
            start, stop = at, at + len(core)
            while whole and start > 0 and places[start] - places[start - 1] == 1 and _BASE64.match(view[start - 1]):
                start -= 1
            while whole and stop < len(view) and _BASE64.match(view[stop]):
                stop += 1
            spans.append((places[start], places[stop - 1] + 1))
            at = view.find(core, stop)
    for start, stop in sorted(_joined(spans), reverse=True):
        text = text[:start] + mask + text[stop:]
    return text


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined
