"""Sizes, durations and shares of cores in the notations of other tools, as a manifest writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,6})?)"
_SIZE = re.compile(rf"{_NUMBER}\s*([KMGT])(?:i?b|i|(?-i:B)/s)?(?:ytes)?", re.IGNORECASE)
_PART = re.compile(rf"{_NUMBER}\s*(ms|[smhdw]|sec|min|hr|(?:second|minute|hour|day|week|sec|min|hr)s?)\b\s*")
_CORES = re.compile(rf"{_NUMBER}\s*(m|%|cpus?|cores?|vcpus?)?", re.IGNORECASE)
_SIZES = {"K": 1, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}
"""In KiB."""
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_UNITS = {"ms": Fraction(1, 1000), "w": Fraction(604800), **{unit: Fraction(n) for unit, n in _SECONDS.items()}}


def convert(text: str, schema: Mapping[str, Any]) -> str:
    """The value that a text means, as the schema of its key accepts it; "" if there is none."""
    unit, pattern = schema.get("x-unit"), str(schema.get("pattern", ""))
    if unit == "cores":
        cores = _cores(text)
        return "" if cores is None else _decimal(cores, schema)
    if unit == "seconds" or str(schema.get("x-expected", "")).startswith("a duration"):
        seconds = _seconds(text)
        return "" if seconds is None or seconds.denominator != 1 else _duration(int(seconds), schema)
    found = _SIZE.fullmatch(text.strip()) if re.search(r"\[K?MG\]|M\|", pattern) else None
    if found is None:
        return ""
    size = Fraction(found[1]) * _SIZES[found[2].upper()]
    fitting = [f"{size / kib}{name}" for name, kib in reversed(_SIZES.items()) if (size / kib).denominator == 1]
    return next((one for one in fitting if re.search(pattern, one)), "")


def _cores(text: str) -> Fraction | None:
    found = _CORES.fullmatch(text.strip())
    if found is None:
        return None
    return Fraction(found[1]) / {"m": 1000, "%": 100}.get(found[2] or "", 1)


def _decimal(cores: Fraction, schema: Mapping[str, Any]) -> str:
    return f"{float(cores):g}" if schema.get("minimum", 0) <= cores <= schema.get("maximum", cores) else ""


def _seconds(text: str) -> Fraction | None:
    """The seconds of a duration with any number of parts, such as ``1h30m`` or ``30 seconds``."""
    rest, total = text.strip().lower(), Fraction(0)
    while rest:
        found = _PART.match(rest) or re.match(rf"{_NUMBER}([smhdw])(?=[0-9])", rest)
        if found is None:
            return None
        total += Fraction(found[1]) * _UNITS[found[2] if found[2] in _UNITS else found[2][0]]
        rest = rest[found.end() :]
    return total if text.strip() else None


def _duration(seconds: int, schema: Mapping[str, Any]) -> str:
    if not schema.get("minimum", 1) <= seconds <= schema.get("maximum", seconds):
        return ""
    return next(f"{seconds // length}{unit}" for unit, length in _SECONDS.items() if seconds % length == 0)
