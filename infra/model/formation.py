"""The formation: the dynos of an app, with the server of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.errors import Diagnostic
from infra.model.provider import Dyno

CORE = 1000
"""Thousandths of a core. The default CPU quota of a dyno is 250: four dynos per core, as of the first dyno in 2009."""


@dataclass(frozen=True)
class Formation:
    """Every desired dyno with its server. ``dynos`` are those on reachable servers; ``homes`` maps all dynos to their
    servers, and ``before`` does so for the servers until now."""

    dynos: tuple[Dyno, ...]
    homes: Mapping[str, str]
    before: Mapping[str, str]
    errors: tuple[Diagnostic, ...] = ()
    notes: tuple[str, ...] = ()
    unreachable: tuple[Dyno, ...] = ()
    """Web dynos on unreachable servers whose addresses a router has."""
