"""The formation: the dynos of an app, with the server of each; providers and the engine speak of dynos in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.errors import Diagnostic
from infra.model.provider import Dyno

CORE = 1000
"""Thousandths of a core. A dyno's share is 250: four dynos are one core (the first dyno's own definition)."""


@dataclass(frozen=True)
class Formation:
    """Every wanted dyno with its home. ``dynos`` holds those on servers that answered; ``homes`` holds all;
    ``before`` is where dynos ran until now."""

    dynos: tuple[Dyno, ...]
    homes: Mapping[str, str]
    before: Mapping[str, str]
    errors: tuple[Diagnostic, ...] = ()
    notes: tuple[str, ...] = ()
    away: tuple[Dyno, ...] = ()
    """Web dynos on servers that did not answer, as far as a router knows their addresses."""
