"""How dynos move to a new release: the model of the manifest's rollout section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Health:
    """The health check of web dynos. ``status`` None accepts any status from 200 to 299. ``path`` None requests
    ``/`` and accepts any HTTP response. ``timeout`` is in seconds, for one response. ``host`` and ``scheme`` None are
    those of the router."""

    path: str | None = None
    status: int | None = None
    timeout: int = 10
    host: str | None = None
    scheme: Literal["http", "https"] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rollout:
    """How running dynos move to a new release, in the terms of Nomad. ``max_parallel`` is a number of dynos, or a
    percentage such as ``25%`` of the dynos that move, and so is ``max_failures`` of those that move or start; times are
    in seconds. ``min_healthy_time`` None is 10 s for dynos whose only proof is that they stay up, and 0 for others."""

    max_parallel: int | str = 1
    canary: int = 0
    min_healthy_time: int | None = None
    healthy_deadline: int = 60
    auto_revert: bool = True
    health: Health = Health()
    max_failures: int | str = 0
    by: str = ""
    """A label of the servers. Dynos move on the servers with one of its values, then on those with the next."""
    pause: int = 0
    """Seconds between two values, at whose end every dyno that moved must be healthy."""
