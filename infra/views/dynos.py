"""Parts that ``ps`` and ``top`` share."""

from __future__ import annotations


def span(seconds: int) -> str:
    """A number of seconds in its two largest units, such as ``3d 4h``; a negative one is none."""
    seconds = max(0, seconds)
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    parts: list[str] = []
    for name, size in units:
        count, seconds = divmod(seconds, size)
        if count or (name == "s" and not parts):
            parts.append(f"{count}{name}")
    return " ".join(parts[:2])
