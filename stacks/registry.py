"""The layers there are: one line for each app server and each framework."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stacks.contract import AppServer, Framework
from stacks.puma import Puma
from stacks.rack import Rack
from stacks.rails import Rails
from stacks.sinatra import Sinatra
from stacks.thin import Thin
from stacks.unicorn import Unicorn


@dataclass(frozen=True)
class Registry:
    """Implementations by the name that a manifest uses."""

    app_servers: Mapping[str, AppServer]
    frameworks: Mapping[str, Framework]


def registry(app_servers: Iterable[AppServer], frameworks: Iterable[Framework]) -> Registry:
    """Index what is given by its own name."""
    return Registry({each.name: each for each in app_servers}, {each.name: each for each in frameworks})


STACKS = registry(
    app_servers=[Thin(), Puma(), Unicorn()],
    frameworks=[Rails(), Sinatra(), Rack()],
)
