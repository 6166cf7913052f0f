"""What a scalar without quotes is: nearly always text. YAML 1.1 would make booleans, octals and dates of it."""

from __future__ import annotations

import re

_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
# No leading zero: 010 is eight to some readers and ten to others, so to us it is text.
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_LONGEST = 40
"""Digits of a number. A longer one is text that happens to look like a number."""


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a scalar that stands without quotes: ``true``, ``false``, nothing, a number, or text."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in "+-.0123456789" or len(text) > _LONGEST:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if abs(number) != float("inf") else text
    return text
