"""The request for a one-off dyno, the dyno that it is like, and the contract that creates it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from infra.model.provider import Fragment


@dataclass(frozen=True)
class Base:
    """An existing dyno, up or not, from which a one-off dyno takes its slug, config vars and limits. ``source`` is
    internal to the implementation of ``Runs``."""

    dyno: str
    slug: str
    up: bool
    source: Mapping[str, str]


@dataclass(frozen=True)
class RunRequest:
    """A command for a one-off dyno. A single argument is a line for a shell. ``seconds`` is its time limit; 0 is
    none."""

    arguments: tuple[str, ...]
    mode: Literal["terminal", "pipe", "detached"]
    variables: Mapping[str, str] = field(default_factory=dict)
    seconds: int = 0
    nonce: str = field(default_factory=lambda: f"{secrets.randbelow(9 * 10**5) + 10**5}")


class Runs(Protocol):
    """Reads existing dynos, and creates one-off dynos like them."""

    def observe(self, app: str) -> Fragment: ...

    def bases(self, app: str, output: str) -> Sequence[Base]: ...

    def name(self, app: str, nonce: str) -> str: ...

    def environment(self, request: RunRequest) -> str: ...

    def argv(self, app: str, base: Base, request: RunRequest) -> Sequence[str]: ...
