"""Another app on the simulated servers, of which nothing may be touched."""

from __future__ import annotations

from tests.simulation.server import ROUTES, STATE, UNITS, SimServer

OTHER = "shop-admin"
"""An app of the same servers whose name begins as ours does; nothing of it may be touched."""


def other_app(server: SimServer) -> None:
    """Put the other app on a server."""
    unit = f"dyno-{OTHER}-web-1"
    text = f"app={OTHER}\ndyno=web.1\nport=5000\ncpu=250\nslug=x\nconfig=/etc/dyno/{OTHER}/web.1.env\n"
    server.files |= {
        f"{UNITS}/{unit}.service": text,
        f"/etc/dyno/{OTHER}/web.1.env": "MODE=admin\n",
        f"{STATE}/{OTHER}/slugs/x.squashfs": "x\n",
        f"{STATE}/{OTHER}/pending/web.7": "changing\n",
        f"{ROUTES}/{OTHER}/mark.json": '{"app": "shop-admin", "kind": "sim", "hosts": ["admin"], "ports": {"80": "plain"}, "upstreams": {}}',
    }
    server.enabled.add(unit)
    server.start(unit)


def of_other(server: SimServer) -> dict[str, str]:
    """The files of the other app."""
    return {path: text for path, text in server.files.items() if f"/{OTHER}/" in path or f"dyno-{OTHER}-" in path}
