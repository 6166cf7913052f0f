"""Volumes in a plan: each is a directory of one server, so its dynos must be there, and its data does not move."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from infra.errors import Diagnostic
from infra.manifest.model import Manifest, Volume
from infra.model import naming
from infra.model.resource import Found
from infra.plan.formation import Formation

KIND = "volume"
ROOT = "/var/lib/dynoctl-volumes"
"""Beside the state that a destroy takes away: what is in a volume is the app's, and only a person removes it."""


def name(app: str, volume: str) -> str:
    """The resource's name. No app's name holds an @."""
    return f"{app}@{volume}"


def path(app: str, volume: str) -> str:
    """Where it is on its server."""
    return f"{ROOT}/{app}/{volume}"


def users(volume: Volume, homes: Mapping[str, str]) -> dict[str, str]:
    """The dynos that have it, with their servers."""
    return {
        dyno: server
        for dyno, server in sorted(homes.items(), key=lambda item: naming.dyno_order(item[0]))
        if not volume.types or naming.parse_dyno(dyno)[0] in volume.types
    }


def check(
    manifest: Manifest, volumes: Sequence[Volume], formation: Formation, found: Mapping[str, Mapping[str, Found]]
) -> Iterator[Diagnostic]:
    """Why one of a release's volumes cannot be where its dynos are to run. ``found`` holds by server what was
    observed."""
    app = manifest.app.name
    places = {one.name: f"volumes/{index}" for index, one in enumerate(manifest.volumes)}
    for volume in volumes:
        homes = users(volume, formation.homes)
        servers = list(dict.fromkeys(homes.values()))
        where = places.get(volume.name, "")
        if len(servers) > 1:
            some = ", ".join(f"{dyno} on {server}" for dyno, server in list(homes.items())[:4])
            yield Diagnostic(
                f"the volume {volume.name} is a directory of one server, and its dynos run on {len(servers)}: {some}",
                path=where,
                hint="Give it to one type of dyno with count 1, or keep such files where all servers reach them: "
                "S3, a database, NFS.",
            )
            continue
        key = f"{KIND}.{name(app, volume.name)}"
        holders = [server for server, resources in found.items() if key in resources]
        for server in servers:
            if holders and server in found and server not in holders:
                at = path(app, volume.name)
                yield Diagnostic(
                    f"the data of the volume {volume.name} is on {holders[0]}, and its dynos would be on {server}",
                    path=where,
                    hint=f"Copy it first, with owners and modes, to {at} there: rsync -a, while nothing writes to it.",
                )


def lost(
    app: str,
    volumes: Sequence[Volume],
    formation: Formation,
    given_up: Collection[str],
    found: Mapping[str, Mapping[str, Found]],
) -> list[str]:
    """What was on servers that are ``given_up``, and that nobody else has."""
    return [
        f"{server}, which is given up, had the volume {volume.name}: its dynos begin with an empty one"
        for volume in volumes
        for server in sorted({*users(volume, formation.before).values()} & set(given_up))
        if not any(f"{KIND}.{name(app, volume.name)}" in resources for resources in found.values())
    ]


def notes(manifest: Manifest, found: Mapping[str, Mapping[str, Found]], wanted: Sequence[str]) -> list[str]:
    """What stays on servers though no dyno uses it any more. ``wanted`` are addresses of the volumes that are used."""
    app = manifest.app.name
    prefix = f"{KIND}.{name(app, '')}"
    return [
        f"{server} keeps the volume {key.removeprefix(prefix)} with its data: {path(app, key.removeprefix(prefix))}"
        for server, resources in found.items()
        for key in resources
        if key.startswith(prefix) and f"{server}/{key}" not in wanted
    ]
