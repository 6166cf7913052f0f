"""What routers lead where: the marks that apps leave on a router's server, and what stands in a new one's way."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from infra.errors import Diagnostic
from infra.manifest.model import Router

LIVE = "/etc/dynoctl/router/live"
"""The configuration that runs: a link to a directory that is never changed, only replaced."""

# One line for each app that the server's router leads to: whether it is closed for maintenance, and its mark.
SCRIPT = f"""\
for mark in {LIVE}/apps/*/mark.json; do
  [ -r "$mark" ] || continue
  state=open; [ -e "${{mark%/*}}/page.html" ] && state=closed
  printf 'router %s ' "$state"; cat "$mark"
done
"""

_UPSTREAM = re.compile(r"^(?P<host>[0-9A-Fa-f.:]+|\[[0-9A-Fa-f:.%a-z]+\]):(?P<port>\d+)$")


@dataclass(frozen=True)
class Route:
    """What one server's router does for one app. ``ports`` are ``plain``, ``redirect`` or ``tls``; ``upstreams`` are
    the addresses of dynos by name; ``closed`` says whether it shows the maintenance page."""

    app: str
    kind: str
    hosts: tuple[str, ...] = ()
    ports: Mapping[int, str] = field(default_factory=dict)
    upstreams: Mapping[str, str] = field(default_factory=dict)
    closed: bool = False

    def lasting(self) -> str:
        """What of it a plan is computed from; not whether it is closed just now."""
        return f"{self.app} {self.kind} {self.hosts} {sorted(self.ports.items())} {sorted(self.upstreams.items())}"


def parse(line: str) -> Route | None:
    """One line of the script's, without its first word; None where it makes no sense."""
    state, _, text = line.partition(" ")
    try:
        mark = json.loads(text)
        ports = {int(port): str(mode) for port, mode in mark["ports"].items()}
        upstreams = {str(dyno): str(address) for dyno, address in mark["upstreams"].items()}
        hosts = tuple(str(host) for host in mark["hosts"])
        return Route(str(mark["app"]), str(mark["kind"]), hosts, ports, upstreams, state == "closed")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def read(output: str) -> tuple[Route, ...]:
    """All that the script printed."""
    lines = (line.removeprefix("router ") for line in output.splitlines() if line.startswith("router "))
    return tuple(one for one in map(parse, lines) if one is not None)


def ports(router: Router) -> dict[int, str]:
    """The ports that a router listens on, and what each is for."""
    if router.certificate is None and router.acme is None:
        return {router.http: "plain"}
    return {router.http: "redirect", router.https: "tls"}


def split(upstream: str) -> tuple[str, int] | None:
    """The listen address and the port of an upstream."""
    found = _UPSTREAM.match(upstream)
    return (found["host"].strip("[]"), int(found["port"])) if found else None


def conflicts(
    app: str, router: Router | None, found: Mapping[str, tuple[tuple[Route, ...], frozenset[int]]]
) -> Iterator[Diagnostic]:
    """Why the router cannot be, by what other apps have on its servers. ``found`` holds, by server, all routes and
    the ports on which something listens."""
    for server in router.servers if router is not None else ():
        if router is None or server not in found:
            continue
        routes, listening = found[server]
        ours = {port for route in routes for port in route.ports}
        mine = ports(router)
        for port in sorted(mine.keys() & (listening - ours)):
            yield Diagnostic(
                f"{server}: port {port} is taken by something that is not dynoctl's router",
                path="router/listen",
                hint=f"See what it is: ss -ltnp sport = :{port}. Stop it, or give the router another port.",
            )
        for route in routes:
            if route.app == app:
                continue
            if route.kind != router.kind:
                yield Diagnostic(
                    f"{server}: its router is {route.kind} already, for {route.app}",
                    path="router/kind",
                    expected=f"{route.kind}, or another server",
                )
            both = mine.keys() & route.ports.keys()
            for port in sorted(both):
                if (mine[port] == "tls") != (route.ports[port] == "tls"):
                    yield Diagnostic(
                        f"{server}: port {port} is for {'HTTP' if mine[port] == 'tls' else 'HTTPS'} with {route.app}",
                        path="router/listen",
                    )
            same = sorted(set(router.hosts) & set(route.hosts)) if both else []
            if both and not router.hosts and not route.hosts:
                same = ["whatever leads nowhere else"]
            if same:
                yield Diagnostic(
                    f"{server}: {', '.join(same)} leads to {route.app} already",
                    path="router/hosts",
                    expected="hosts of its own for each app",
                )


def closed(app: str, found: Mapping[str, tuple[Route, ...]]) -> list[str]:
    """The servers whose routers show the app's maintenance page."""
    return [server for server, routes in found.items() if any(one.app == app and one.closed for one in routes)]
