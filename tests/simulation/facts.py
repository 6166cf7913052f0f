"""What a simulated server says about itself, in the format that ``infra.fleet.facts`` reads from a real one."""

from __future__ import annotations

from infra.model.naming import APP, CPU, DYNO, PORT
from tests.simulation.server import ROUTES, STATE, UNITS, SimServer

_SOCKET = "   0: 0100007F:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1"


def render(server: SimServer, app: str, reached_by: str) -> str:
    """The output of the facts fragment for ``app``, over a connection to an address of the server."""
    ruby = "ruby" in server.packages - server.fleet.hollow
    lines = [
        f"machine_id {server.machine_id}",
        f"hostname {server.host}",
        f"connection 10.0.0.1 4711 {reached_by} 22",
        *(
            f"           |-- {address}\n              /32 host LOCAL"
            for address in (server.address, *server.others.values())
        ),
        f"cores {server.cores}",
        "systemd systemd 252 (252.39)",
        "squashfs yes",
        "system ID=debian",
        f'system VERSION_ID="{server.debian}"',
        f"ruby ruby {server.ruby}" if ruby else "ruby ",
        "apt" if ruby else "apt Version: 1:3.1",
    ]
    ports = server.listeners | {process.port for process in server.processes.values() if process.port}
    lines += [_SOCKET.format(port=port) for port in sorted(ports)]
    home = f"{STATE}/{app}"
    applied, releases, bodies, commanded, pending, routes = [], [], [], [], [], []
    undo = f"{home}/undo/"
    kept = {directory.removeprefix(undo) for directory in server.directories if directory.startswith(undo)}
    salt, meta = "", ""
    for path in sorted(server.files):
        text = server.files[path]
        if path.startswith(f"{UNITS}/dyno-") and path.endswith(".service"):
            unit = path.rpartition("/")[2].removesuffix(".service")
            if not text and unit in server.processes and unit.startswith(f"dyno-{app}-"):
                lines.append(f"held {unit}.socket active")
            settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
            marks = ((APP, "app"), (DYNO, "dyno"), (PORT, "port"), (CPU, "cpu"))
            lines += [f"{path}:{mark}={settings[key]}" for mark, key in marks if key in settings]
        elif path.startswith(f"{ROUTES}/") and path.endswith("/mark.json"):
            state = "closed" if path.replace("mark.json", "page.html") in server.files else "open"
            routes.append(f"router {state} {text.strip()}")
        elif path.startswith(f"{home}/"):
            directory, _, name = path.removeprefix(f"{home}/").rpartition("/")
            stem, _, suffix = name.rpartition(".")
            if directory == "" and name == "new":
                pending.append("pending new")
            elif directory == "" and name == "salt":
                salt = text.strip()
            elif directory == "" and name == "meta.json":
                meta = text.strip()
            elif directory == "applied" and suffix == "json":
                applied.append(text.strip())
            elif directory == "releases" and suffix == "json":
                releases.append(text.strip())
            elif directory == "releases" and suffix == "body":
                bodies.append(f"body {stem}")
            elif directory == "releases" and suffix == "commanded":
                commanded.append(f"commanded {stem}")
            elif directory == "pending":
                pending.append(f"pending {name}")
    for one in server.one_offs.values():
        if one.app == app and not one.over:
            unit, slug = f"dynoctl-{one.kind}-{app}.{one.name.rpartition('.')[2]}.service", one.release.slug
            lines += [f"one-off Id={unit}", f"one-off BindReadOnlyPaths=/srv/dyno/{app}/{slug}:/app:rbind"]
            lines += ["one-off ActiveState=active", "one-off "]
    for path, text in server.files.items():
        if path.startswith(f"{STATE}/") and path.endswith("/origin"):
            lines.append(f"origin {path} {text.strip()}")
    lines += (
        ["recorded yes"] if any(path.startswith(f"{home}/") for path in (*server.files, *server.directories)) else []
    )
    lines += [f"salt {salt}"] if salt else []
    lines.append(f"meta {meta}")
    return "\n".join(
        [
            *lines,
            *applied,
            *releases,
            *bodies,
            *commanded,
            *pending,
            *(f"backup {one}" for one in sorted(kept)),
            *routes,
        ]
    )
