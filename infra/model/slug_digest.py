"""The digest of a slug that a builder makes: of its source, and of the machine that builds it."""

from __future__ import annotations

import hashlib

_DOMAIN = "dynoctl builder 1\n"

_BUILDER = 24
"""The hex digits that depend on the builder, too: the first ones, which views show. The other 160 bits depend on the
source alone."""

_LENGTH = 64


def on_builder(source: str, builder: str) -> str:
    """The digest of what ``builder``, in the words of ``infra.engine.builder``, makes of a source with the digest
    ``source``."""
    return hashlib.sha256(f"{_DOMAIN}{builder}\n{source}".encode()).hexdigest()[:_BUILDER] + source[_BUILDER:]


def same_source(one: str, other: str) -> bool:
    """Whether two slugs are of the same source, whatever built them."""
    return one == other or (len(one) == len(other) == _LENGTH and one[_BUILDER:] == other[_BUILDER:])
