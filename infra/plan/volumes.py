"""Volumes in a plan: each is a directory of one server, so its dynos must be there, and its data does not move."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from infra.errors import Diagnostic
from infra.manifest.model import Manifest, Volume
from infra.model.formation import Formation
from infra.model.resource import Found
from infra.model.volume import volume_path, volume_users

Resources = Mapping[str, Mapping[str, Found]]
"""What was observed: by server, each resource by its key."""

VolumeKey = Callable[[str, str], str]
"""``Registry.volume_key``: the key of the resource that holds an app's volume."""


def check(
    manifest: Manifest,
    volumes: Sequence[Volume],
    formation: Formation,
    found: Resources,
    key_of: VolumeKey,
) -> Iterator[Diagnostic]:
    """Why one of a release's volumes cannot be where its dynos are to run."""
    app = manifest.app.name
    places = {one.name: f"volumes/{index}" for index, one in enumerate(manifest.volumes)}
    for volume in volumes:
        homes = volume_users(volume, formation.homes)
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
        key = key_of(app, volume.name)
        holders = [server for server, resources in found.items() if key in resources]
        for server in servers:
            if holders and server in found and server not in holders:
                at = volume_path(app, volume.name)
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
    found: Resources,
    key_of: VolumeKey,
) -> list[str]:
    """What was on servers that are ``given_up``, and that nobody else has."""
    return [
        f"{server}, which is given up, had the volume {volume.name}: its dynos begin with an empty one"
        for volume in volumes
        for server in sorted({*volume_users(volume, formation.before).values()} & set(given_up))
        if not any(key_of(app, volume.name) in resources for resources in found.values())
    ]


def notes(manifest: Manifest, found: Resources, wanted: Sequence[str], key_of: VolumeKey) -> list[str]:
    """What stays on servers though no dyno uses it any more. ``wanted`` are addresses of the volumes that are used."""
    app = manifest.app.name
    prefix = key_of(app, "")
    return [
        f"{server} keeps the volume {name} with its data: {volume_path(app, name)}"
        for server, resources in found.items()
        for key in resources
        if key.startswith(prefix) and f"{server}/{key}" not in wanted
        for name in [key.removeprefix(prefix)]
    ]
