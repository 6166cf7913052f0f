"""The routes of apps on a router's server, read from their markers, and conflicts with a new route."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from infra.errors import Diagnostic
from infra.manifest.model import Router
from infra.model import answer, paths
from infra.model.provider import Fragment

LIVE = f"{paths.ROUTER}/live"
"""The active configuration: a symbolic link to a directory that is replaced as a whole."""

SECTION = "routing"
"""The section of an observation in which ``SCRIPT`` is run for all that read it."""

ACCESS_LOG = "dynoctl_access"
"""The syslog identifier of the access logs of nginx and HAProxy. Caddy's are a part of its own log."""

DOWN = ("stopped", "failed", "starting", "not listening")
"""The states of a router in which no request reaches a dyno."""

WITHOUT_ROUTE = "without a route"
"""The state of a router of the manifest that does not know the app."""


# Prints one line for each app on the router: whether maintenance mode is on (closed), and the app's marker; then the
# state of the router itself. A process takes a millisecond, and there may be a hundred apps.
SCRIPT = f"""\
router_state() {{
  case $(systemctl is-active {paths.ROUTER_SERVICE}) in
    active|reloading) ;; failed) echo failed; return;; activating) echo starting; return;; *) echo stopped; return;;
  esac
  seen=' ' sockets=$(grep -hs ' 0A ' /proc/net/tcp /proc/net/tcp6)
  # A line that somebody wrote into it has no port; that the file was edited is found elsewhere.
  for port in $(sed -n 's/ .*//; /^[0-9][0-9]*$/p' {LIVE}/frontends 2>/dev/null); do
    case $seen in *" $port "*) continue;; esac
    seen="$seen$port "
    case $sockets in *":$(printf %04X "$port") "*) ;; *) echo 'not listening'; return;; esac
  done
  echo running
}}
routes() {{
  how=$1; shift
  [ $# -eq 0 ] || sed "s/^/router $how /" -- "$@"
}}
set --
for mark in {LIVE}/apps/*/mark.json; do
  [ -f "$mark" ] && [ -r "$mark" ] && [ ! -e "${{mark%/*}}/page.html" ] && set -- "$@" "$mark"
done
routes open "$@"
router=$#
set --
for mark in {LIVE}/apps/*/page.html; do
  mark=${{mark%/*}}/mark.json
  [ -f "$mark" ] && [ -r "$mark" ] && set -- "$@" "$mark"
done
routes closed "$@"
[ $((router + $#)) -eq 0 ] || {{ printf 'routing '; router_state; }}
"""

_UPSTREAM = re.compile(r"^(?P<host>[0-9A-Fa-f.:]+|\[[0-9A-Fa-f:.%a-z]+\]):(?P<port>[0-9]{1,5})\Z")


@dataclass(frozen=True)
class Route:
    """The route of an app on a router. ``ports`` maps ports to ``plain``, ``redirect`` or ``tls``; ``upstreams`` maps
    dynos to their addresses; ``closed`` is whether maintenance mode is on. ``state`` is that of the router itself."""

    app: str
    kind: str
    hosts: tuple[str, ...] = ()
    ports: Mapping[int, str] = field(default_factory=dict)
    upstreams: Mapping[str, str] = field(default_factory=dict)
    closed: bool = False
    state: str = "running"

    def lasting(self) -> str:
        """The part of the route that a plan depends on: everything but maintenance mode."""
        return f"{self.app} {self.kind} {self.hosts} {sorted(self.ports.items())} {sorted(self.upstreams.items())}"


def fragment() -> Fragment:
    """What prints the routes of a server for all that read them."""
    return Fragment(f"{SCRIPT}:\n")


def parse(line: str) -> Route | None:
    """Parse a line of the script's output, without the leading ``router``; None if it is invalid."""
    state, _, text = line.partition(" ")
    try:
        mark = answer.record(text)
        ports = {number: str(mode) for port, mode in mark["ports"].items() if (number := answer.digits(port))}
        upstreams = {str(dyno): str(address) for dyno, address in mark["upstreams"].items()}
        hosts = tuple(str(host) for host in mark["hosts"])
        return Route(str(mark["app"]), str(mark["kind"]), hosts, ports, upstreams, state == "closed")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def read(output: str) -> tuple[Route, ...]:
    """Parse the output of the script. Other lines are ignored."""
    lines = output.splitlines()
    states = [line.removeprefix("routing ") for line in lines if line.startswith("routing ")]
    state = states[-1] if states and states[-1] in DOWN else "running"
    routes = (parse(line.removeprefix("router ")) for line in lines if line.startswith("router "))
    return tuple(replace(route, state=state) for route in routes if route is not None)


def ports(router: Router) -> dict[int, str]:
    """The ports of a router, with the use of each: ``plain``, ``redirect`` or ``tls``."""
    if router.certificate is None and router.acme is None:
        return {router.http: "plain"}
    return {router.http: "redirect", router.https: "tls"}


def split(upstream: str) -> tuple[str, int] | None:
    """Split an upstream into address and port; None if it is invalid."""
    found = _UPSTREAM.match(upstream)
    return (found["host"].strip("[]"), int(found["port"])) if found else None


def others(app: str, routes: Iterable[Route]) -> Iterator[tuple[str, int]]:
    """The addresses and ports that routers lead to for other apps than this one."""
    for route in routes:
        for upstream in route.upstreams.values() if route.app != app else ():
            if (place := split(upstream)) is not None:
                yield place


def conflicts(
    app: str, router: Router | None, found: Mapping[str, tuple[tuple[Route, ...], frozenset[int]]]
) -> Iterator[Diagnostic]:
    """The conflicts of a router with other apps and programs on its servers. ``found`` are the routes and the ports
    with a listener, by server."""
    for server in router.servers if router is not None else ():
        if router is None or server not in found:
            continue
        routes, listening = found[server]
        managed = {port for route in routes for port in route.ports}
        wanted = ports(router)
        for port in sorted(wanted.keys() & (listening - managed)):
            yield Diagnostic(
                f"{server}: port {port} is already in use, and not by dynoctl's router",
                path="router/listen",
                hint=f"find the program with: ss -ltnp sport = :{port}; stop it, or change router.listen",
            )
        for route in routes:
            if route.app == app:
                continue
            if route.kind != router.kind:
                yield Diagnostic(
                    f"{server}: the router is already {route.kind}, for {route.app}",
                    path="router/kind",
                    expected=f"{route.kind}, or another server",
                )
            shared = wanted.keys() & route.ports.keys()
            for port in sorted(shared):
                if (wanted[port] == "tls") != (route.ports[port] == "tls"):
                    protocol = "HTTP" if wanted[port] == "tls" else "HTTPS"
                    yield Diagnostic(
                        f"{server}: port {port} is already used for {protocol} by {route.app}", path="router/listen"
                    )
            hosts = sorted(set(router.hosts) & set(route.hosts)) if shared else []
            if shared and not router.hosts and not route.hosts:
                hosts = ["the default route"]
            if hosts:
                yield Diagnostic(
                    f"{server}: already routed to {route.app}: {', '.join(hosts)}",
                    path="router/hosts",
                    expected="different hosts for each app",
                )


def closed(app: str, found: Mapping[str, tuple[Route, ...]]) -> list[str]:
    """The servers of the routers with maintenance mode on for the app."""
    return [server for server, routes in found.items() if any(route.app == app and route.closed for route in routes)]


def down(app: str, routers: Collection[str], found: Mapping[str, tuple[Route, ...]]) -> dict[str, str]:
    """The routers through which the app cannot be reached, and the state of each. ``routers`` are the servers of the
    manifest's routers, ``found`` are the routes on the servers that could be asked."""
    states = {}
    for server, routes in found.items():
        state = next((route.state for route in routes if route.app == app), None)
        if state in DOWN:
            states[server] = str(state)
        elif state is None and server in routers:
            states[server] = WITHOUT_ROUTE
    return states
