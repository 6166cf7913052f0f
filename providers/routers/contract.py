"""What a router program provides, as text: a site open and closed, the whole file, and a test of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infra.errors import DynoctlError
from infra.model import naming, paths
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
"""Seconds in which failures of an upstream are counted, and for which it then gets no requests."""

FAILURES = 3
"""Failures in that time. A request that crashes its dyno is one of them, and does not take the dyno away."""

OWN = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Request-Start")
"""The headers that the router sets."""

FOREIGN = (
    *("Forwarded", "Client-IP", "True-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-Forwarded"),
    *("X-Forwarded-By", "X-Forwarded-Path", "X-Forwarded-Prefix", "X-Forwarded-Protocol", "X-Forwarded-Scheme"),
    *("X-Forwarded-Server", "X-Forwarded-Ssl", "X-Forwarded-Uri", "X-Original-Host", "X-Original-URL"),
    # Rack::Sendfile believes the first two, CGI programs that the app starts the last one.
    *("X-Sendfile-Type", "X-Accel-Mapping", "Proxy"),
    *("X-Queue-Start", "X-Real-IP", "X-Rewrite-URL", "X-Scheme", "X-Url-Scheme"),
)
"""Headers that say where a request comes from, and that some library believes. The router removes them, and every
header with an underscore: Rack has one name for ``X_Forwarded_For`` and ``X-Forwarded-For``."""

LONG = 3600
"""Seconds that a WebSocket or an event stream may be silent."""


_APP = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_HOST = re.compile(r"[A-Za-z0-9*_][A-Za-z0-9._*-]{0,252}")
_MAIL = re.compile(r"[A-Za-z0-9.!#%&*+/=?^_`|~-]+@[A-Za-z0-9.-]+")
_UPSTREAM = re.compile(r"(\[[0-9A-Fa-f:.]+(%[0-9A-Za-z_.-]+)?\]|[A-Za-z0-9_.-]+):[0-9]{1,5}")


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
    proxies: tuple[str, ...] = ()
    """The networks of trusted proxies."""

    def connect(self) -> int:
        """Milliseconds to connect to a dyno."""
        return min(CONNECT * 1000, self.timeout * 500)

    def tries(self) -> int:
        """Milliseconds within which a request may be tried once more: enough for a connection that timed out, and less
        than the timeout of an answer, after which it must not be tried again."""
        return self.connect() * 3 // 2

    def __post_init__(self) -> None:
        """Raise DynoctlError if a value would be more than a word in the configuration of a router."""
        words = [("host", host, _HOST) for host in self.hosts]
        words += [("acme", self.acme, _MAIL)] * bool(self.acme)
        words += [("app", self.app, _APP)]
        words += [(dyno, address, _UPSTREAM) for dyno, address in self.upstreams]
        words += [("dyno", dyno, naming.DYNO_NAME) for dyno, _ in self.upstreams]
        for name, word, pattern in words:
            if not pattern.fullmatch(word):
                raise DynoctlError(f"cannot configure the router: invalid {name}: {ascii(word)[:80]}")

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

    def pattern(self, host: str) -> str:
        """A regular expression for a host, in which ``*`` is one label: as in a certificate, and as Caddy reads it."""
        return "^" + host.replace(".", r"\.").replace("*", "[^.]+") + "$"

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
