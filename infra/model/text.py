"""Text of messages, shared by several rooms."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Characters that end a line, or more, for some program that reads a configuration file. A tab is a blank."""


def control(text: str) -> str | None:
    """The first control character of a text, such as ``\\x0d``, in printable form; None if it has none."""
    found = _CONTROL.search(text)
    return None if found is None else f"\\x{ord(found[0]):02x}"


def quantity(number: int, noun: str) -> str:
    """``1 dyno``, ``2 dynos``, ``2 batches``: a number with its noun, which takes an s or es in the plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('ch') else 's'}"


def enumeration(names: Sequence[str], most: int = 3) -> str:
    """``web.1, web.2, web.3 and 5 more``: the first of some names, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def size(number: int) -> str:
    """``512 MiB``, ``1.5 GiB``, ``12 B``: bytes in the largest unit of which there is at least one."""
    value, unit = float(number), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):  # the last one is used
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.4g} {unit}"
