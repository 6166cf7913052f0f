"""Lists of names that fit a line: ``web.[1-7], worker.1`` and ``grid-[1-3,5]``."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from infra.model.text import quantity

LONGEST = 120
"""Characters of a list of names on a line."""

_NUMBERED = re.compile(r"(.*?)(0|[1-9][0-9]{0,8})")


def ranges(names: Iterable[str]) -> str:
    """The names in the order in which their words come first, each word once with its numbers as ranges."""
    numbers: dict[tuple[str, bool], set[int]] = {}
    for name in names:
        found = _NUMBERED.fullmatch(name)
        own = numbers.setdefault((found[1], True) if found else (name, False), set())
        if found:
            own.add(int(found[2]))
    return ", ".join(word + _spans(sorted(found)) for (word, _), found in numbers.items())


def shortened(names: Collection[str], noun: str) -> str:
    """The names as ``ranges``; of a list that is longer than ``LONGEST``, the first ones and how many there are."""
    text = ranges(names)
    if len(text) <= LONGEST:
        return text
    first = text[: max(text.rfind(",", 0, LONGEST), 0)] or text[:LONGEST]
    closed = "...]" if first.rfind("[") > first.rfind("]") else " ..."
    return f"{first},{closed} ({quantity(len(set(names)), noun)})"


def _spans(numbers: list[int]) -> str:
    if len(numbers) < 2:
        return "".join(map(str, numbers))
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return f"[{','.join(str(first) if first == last else f'{first}-{last}' for first, last in spans)}]"
