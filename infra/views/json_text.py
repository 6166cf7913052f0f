"""Documents as JSON text for programs, which a CI's log cannot take for a command."""

from __future__ import annotations

import json


def indented(document: object, *, ascii_only: bool = True) -> str:
    """A document as JSON, indented by two spaces."""
    return inert(json.dumps(document, indent=2, ensure_ascii=ascii_only))


def inert(text: str) -> str:
    """The same JSON without ``##``, which is only in strings: GitHub and Azure run ``##[...]`` in any line of a log."""
    return text.replace("##", "#\\u0023")
