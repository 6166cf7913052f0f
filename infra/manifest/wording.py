"""How a value or a key is put into a sentence: in quotes, short, and without what a terminal would obey."""

from __future__ import annotations

from difflib import get_close_matches

from infra.manifest.model import Json

_LONGEST = 50

_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (str, "text"),
    (int, "a whole number"),
    (float, "a number"),
    (list, "a list"),
    (dict, "a mapping"),
)


def quoted(text: object) -> str:
    """``"text"``, cropped, with control characters escaped."""
    whole = str(text)
    shown = whole if len(whole) <= _LONGEST else whole[: _LONGEST - 3] + "..."
    return '"' + "".join(map(_printable, shown)) + '"'


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return "\\n" if character == "\n" else f"\\x{ord(character):02x}"


def kind(value: Json) -> str:
    """What a value is, in a word."""
    if value is None:
        return "nothing"
    return next(word for type_, word in _KINDS if isinstance(value, type_))


def described(value: Json, *, secret: bool) -> str:
    """A value in a sentence: itself where it is short and may be shown, or what kind of value it is."""
    if value is None or isinstance(value, list | dict) or secret:
        return kind(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(value) if isinstance(value, str) else str(value)


def suggestion(text: str, choices: list[str]) -> str:
    """The choice that was probably meant, or ""."""
    if len(text) > _LONGEST:
        return ""
    close = get_close_matches(text.lower(), choices, 1)
    return close[0] if close else ""


def listed(words: list[str]) -> str:
    """``one, two or three``"""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]
