"""Parses a duration of the command line, such as ``10m``, in one way for all options."""

from __future__ import annotations

import re
from collections.abc import Callable

from infra.errors import DynoctlError

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_WHOLE = re.compile(rf"(?:{_PART.pattern}\s*)+")
_PLAIN = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,3})?")


def seconds(text: str) -> float | None:
    """``90``, ``90s``, ``10m``, ``1h30m`` or ``500ms`` in seconds, or None for anything else."""
    word = text.strip().lower()
    if _PLAIN.fullmatch(word):
        return float(word)
    if _WHOLE.fullmatch(word) is None:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(word))


def option(name: str, least: float = 0, most: float = 1e9) -> Callable[[str], float]:
    """A parser for the option ``name``, with limits in seconds. It raises DynoctlError."""

    def parse(text: str | float) -> float:
        found = seconds(str(text))
        if found is None:
            raise DynoctlError(f"invalid duration for {name}: {text!r}", f"such as {name} 90s, {name} 10m or {name} 1h")
        if not least <= found <= most:
            limits = f"{least:g} s to {most:g} s" if most < 1e9 else f"at least {least:g} s"
            raise DynoctlError(f"invalid duration for {name}: {text}", f"it must be {limits}")
        return found

    return parse
