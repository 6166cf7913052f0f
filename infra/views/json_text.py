"""Documents as JSON text for programs, which a CI's log cannot take for a command."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

CHUNK = 1 << 16
"""Characters that are written at once."""


def indented(document: object, *, ascii_only: bool = True) -> str:
    """A document as JSON, indented by two spaces."""
    return inert(json.dumps(document, indent=2, ensure_ascii=ascii_only))


def inert(text: str) -> str:
    """The same JSON without ``##``, which is only in strings: GitHub and Azure run ``##[...]`` in any line of a log."""
    return text.replace("##", "#\\u0023")


def chunks(
    document: Mapping[str, object], key: str, items: Iterable[object], *, indent: int | None = 2
) -> Iterator[str]:
    """The JSON text of a document whose value of ``key``, which is ``[]``, is made of ``items`` while it is written: as
    a whole, a list of thousands would take several times the memory of what it is made from."""
    text = json.dumps(document, indent=indent)
    before, _, after = text.partition(f'"{key}": []')
    inside, between, end = ("\n    ", ",\n    ", "\n  ") if indent else ("", ", ", "")
    parts = [before, f'"{key}": [']
    size = separate = 0
    for item in items:
        own = json.dumps(item, indent=indent)
        parts += [between if separate else inside, own.replace("\n", "\n    ")]
        size, separate = size + len(own), 1
        if size > CHUNK:
            yield inert("".join(parts))
            parts, size = [], 0
    yield inert("".join([*parts, end if separate else "", "]", after]))
