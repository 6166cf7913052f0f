"""What a router program provides, as text: a site open and closed, the whole file, and a test of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infra.model import paths
from infra.model.routing import LIVE

USER = "dynoctl-router"
"""The user it runs as. systemd gives it the capability to bind ports below 1024."""

RUN = paths.ROUTER_RUN
STATE = paths.ROUTER_STATE

RETRY_AFTER = 120
"""Seconds in the Retry-After header of a maintenance page."""

LARGEST = 100
"""The largest body of a request, in MiB."""

CONNECT = 1
"""Timeout in seconds of a connection to a dyno. A server that is switched off does not even refuse it."""

AGAIN = 5
"""Seconds after which a failed upstream is retried."""

LONG = 3600
"""Seconds that a WebSocket or an event stream may be silent."""


@dataclass(frozen=True)
class Site:
    """One app at a router.

    Without ``hosts`` it is the default site. ``https`` is 0 without HTTPS. ``acme`` is the e-mail address with which
    the program obtains certificates, or "". ``upstreams`` are pairs of dyno and address."""

    app: str
    hosts: tuple[str, ...]
    http: int
    https: int
    acme: str
    timeout: int
    upstreams: tuple[tuple[str, str], ...]

    def directory(self) -> str:
        """The directory of the maintenance page in the live configuration."""
        return f"{LIVE}/apps/{self.app}"

    def frontends(self) -> str:
        """A line per port and host: port, mode, host (``*`` for all others), app."""
        ports = [(self.http, "redirect" if self.https else "plain")]
        if self.https:
            ports.append((self.https, "tls"))
        hosts = self.hosts or ("*",)
        return "".join(f"{port} {mode} {host} {self.app}\n" for port, mode in ports for host in hosts)

    def secure(self) -> str:
        """The port in its https URLs; "" for 443."""
        return "" if self.https == 443 else f":{self.https}"


@dataclass(frozen=True)
class Kind:
    """A router program.

    ``main`` is the name of its configuration file and ``base`` the constant head of that. ``assemble`` is shell code
    that prints what follows the base, and ``test`` a command that fails if the file is invalid. Both run in the
    configuration's directory, where ``frontends`` has the lines of all apps and the function ``sites`` prints their
    texts."""

    name: str
    package: str
    main: str
    base: str
    open: Callable[[Site], str]
    closed: Callable[[Site], str]
    assemble: str
    test: str
    service: Mapping[str, str]
