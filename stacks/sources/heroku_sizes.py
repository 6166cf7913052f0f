"""The sizes of Heroku's dynos as limits of the manifest."""

from __future__ import annotations

from collections.abc import Mapping

_SIZES: Mapping[str, tuple[float | None, str]] = {
    "standard-2x": (0.5, "1G"),
    "performance-m": (2, "2560M"),
    "performance-l": (8, "14G"),
    "performance-l-ram": (4, "30G"),
    "performance-xl": (8, "62G"),
    "performance-2xl": (16, "126G"),
}
"""Cores and memory by size. Eco, Basic and Standard-1X have 512 MB and a share of a core, as a dyno has by default."""


def limits(size: str) -> tuple[float | None, str]:
    """The cores and the memory of a size; (None, "") for the defaults of a dyno."""
    name = size.lower().replace("private-", "performance-").replace("shield-", "performance-")
    return _SIZES.get(name, (None, ""))
