"""Text of messages, shared by several rooms."""

from __future__ import annotations


def quantity(number: int, noun: str) -> str:
    """``1 dyno``, ``2 dynos``: a number with its noun, which takes an s in the plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
