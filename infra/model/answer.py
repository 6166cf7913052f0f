"""The boundary of a server's answer: numbers and JSON with limits, and one error for whatever a parser cannot read.

What a server says is not trusted: it may be broken, or in somebody else's hands. So each answer is parsed inside
``reading``, and the values that leave it can be added, compared, sorted and printed without surprises."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from infra.errors import DynoctlError

LONGEST = 200
"""Characters of a cause that are shown."""

DEEPEST = 24
"""Levels of lists and objects in a record. Those of dynoctl have 6."""

_DIGITS = re.compile(r"[0-9]{1,18}")
_LARGEST = 10.0**18


class InvalidAnswer(DynoctlError):
    """A server answered, and what it said cannot be read."""

    def __init__(self, server: str, why: str) -> None:
        super().__init__(
            f"{server}: its answer is invalid: {why}",
            f"check that {server} is a Linux server with systemd, and that its records were not changed by hand",
        )


@contextmanager
def reading(server: str) -> Iterator[None]:
    """Parse the answer of a server: any error of the block becomes an InvalidAnswer. Those of a connection, and those
    that say what is wrong already, stay what they are."""
    try:
        yield
    except (DynoctlError, OSError, EOFError):
        raise
    except Exception as error:
        raise InvalidAnswer(server, _cause(error)) from error


def _cause(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, KeyError):
        return f"{str(error)[:LONGEST]} is missing"
    text = " ".join(str(error).split())[:LONGEST]
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"


def lines(text: str, word: str) -> list[str]:
    """The lines of an answer that begin with ``word`` and a space, without both."""
    return [part.partition("\n")[0] for part in f"\n{text}".split(f"\n{word} ")[1:]]


def digits(text: str) -> int | None:
    """A whole number in ASCII digits, at most 18 of them; None if ``text`` is none. (``str.isdigit`` is also true of
    ``\N{SUPERSCRIPT TWO}``, which ``int`` refuses.)"""
    return int(text) if _DIGITS.fullmatch(text) else None


def whole(value: object) -> bool:
    """Whether a value of JSON is a whole number from 0 to 10^18; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def decimal(text: str) -> float:
    """A number such as ``12.5``. Raises ValueError if it is none, not finite, or too large to be one of a server."""
    value = float(text)
    if not math.isfinite(value) or abs(value) > _LARGEST:
        raise ValueError(f"invalid number: {text[:40]}")
    return value


def record(text: str) -> Mapping[str, Any]:
    """The object in a line of JSON; {} if it is damaged, too deep, or has text or numbers that cannot be written
    again. Records only tell drift from change, so nothing else is lost."""
    try:
        value = _DECODER.decode(text)
        # Almost every record is ASCII without escapes, so that there is no half of a character in it.
        fine = _shallow if text.isascii() and "\\u" not in text else _plain
        return value if isinstance(value, dict) and fine(value) else {}
    except (ValueError, RecursionError):
        return {}


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"invalid number: {text}")


def _int(text: str) -> int:
    value = int(text)
    return value if -_LARGEST <= value <= _LARGEST else _refuse(text[:40])


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_int=_int, parse_float=decimal)


def _shallow(value: object) -> bool:
    """Whether a value has no more than ``DEEPEST`` levels."""
    level = [value]
    for _ in range(DEEPEST):
        holders = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [item for holder in holders for item in holder if isinstance(item, dict | list)]
        if not level:
            return True
    return False


def _plain(value: object) -> bool:
    """Whether a value has no more than ``DEEPEST`` levels, and only Unicode text."""
    level = [value]
    for _ in range(DEEPEST):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str) and not item.isascii():
                item.encode()  # a lone surrogate raises UnicodeEncodeError, which is a ValueError
        if not below:
            return True
        level = below
    return False
