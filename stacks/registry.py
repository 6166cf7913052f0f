"""The supported app servers and frameworks, one line each."""

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
    """Implementations by their name in a manifest."""

    app_servers: Mapping[str, AppServer]
    frameworks: Mapping[str, Framework]


def registry(app_servers: Iterable[AppServer], frameworks: Iterable[Framework]) -> Registry:
    """The registry of these app servers and frameworks."""
    return Registry(
        {app_server.name: app_server for app_server in app_servers},
        {framework.name: framework for framework in frameworks},
    )


STACKS = registry(
    app_servers=[Thin(), Puma(), Unicorn()],
    frameworks=[Rails(), Sinatra(), Rack()],
)
