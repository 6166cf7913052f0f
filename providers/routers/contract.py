"""What a program that routes must be able to do, as text: a site open and closed, a whole file of them, a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infra.model.routing import LIVE

USER = "dynoctl-router"
"""Whom it runs as; systemd lets it listen on ports below 1024."""

RUN = "/run/dynoctl-router"
STATE = "/var/lib/dynoctl-router"

RETRY_AFTER = 120
"""Seconds after which a client may look whether maintenance is over."""

LARGEST = 100
"""MiB that the body of a request may have."""

CONNECT = 1
"""Seconds that a dyno's server has to answer a connection: one that was switched off does not even refuse."""

AGAIN = 5
"""Seconds after which an upstream that failed is tried again."""

LONG = 3600
"""Seconds that a WebSocket or a stream of events may be silent."""


@dataclass(frozen=True)
class Site:
    """One app at a router. ``hosts`` none is the default. ``https`` 0: there is none; ``acme`` an e-mail address where
    the program gets certificates itself. ``upstreams`` are dynos with their addresses."""

    app: str
    hosts: tuple[str, ...]
    http: int
    https: int
    acme: str
    timeout: int
    upstreams: tuple[tuple[str, str], ...]

    def directory(self) -> str:
        """Where its page is, as long as the configuration is the one that runs."""
        return f"{LIVE}/apps/{self.app}"

    def frontends(self) -> str:
        """A line for each port and host: port, mode, host (``*`` is all others), app."""
        ports = [(self.http, "redirect" if self.https else "plain")]
        if self.https:
            ports.append((self.https, "tls"))
        hosts = self.hosts or ("*",)
        return "".join(f"{port} {mode} {host} {self.app}\n" for port, mode in ports for host in hosts)

    def secure(self) -> str:
        """The port in a URL of its HTTPS: nothing for the usual one."""
        return "" if self.https == 443 else f":{self.https}"


@dataclass(frozen=True)
class Kind:
    """One program. ``main`` is the name of its configuration, ``base`` the constant head of that. ``assemble`` is sh
    that prints what follows the base, and ``test`` ends well where the file is sound: both run in the configuration's
    directory, where ``frontends`` has the lines of all apps, and the function ``sites`` prints their texts."""

    name: str
    package: str
    main: str
    base: str
    open: Callable[[Site], str]
    closed: Callable[[Site], str]
    assemble: str
    test: str
    service: Mapping[str, str]
