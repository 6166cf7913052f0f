"""Volumes in a plan: each is a directory on one server, so its dynos must run there, and its data does not move."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from infra.errors import Diagnostic
from infra.manifest.model import Manifest, Volume
from infra.model.formation import Formation
from infra.model.resource import Found
from infra.model.volume import volume_path, volume_users

Resources = Mapping[str, Mapping[str, Found]]
"""The observed resources by key, by server."""

VolumeKey = Callable[[str, str], str]
"""``Registry.volume_key``: the key of the resource of a volume, by app and volume name."""


def check(
    manifest: Manifest,
    volumes: Sequence[Volume],
    formation: Formation,
    found: Resources,
    key_of: VolumeKey,
) -> Iterator[Diagnostic]:
    """The errors of volumes that are not on the server of their dynos."""
    app = manifest.app.name
    paths = {volume.name: f"volumes/{index}" for index, volume in enumerate(manifest.volumes)}
    for volume in volumes:
        homes = volume_users(volume, formation.homes)
        servers = list(dict.fromkeys(homes.values()))
        path = paths.get(volume.name, "")
        if len(servers) > 1:
            shown = ", ".join(f"{dyno} on {server}" for dyno, server in list(homes.items())[:4])
            yield Diagnostic(
                f"the dynos of the volume {volume.name} run on {len(servers)} servers, and a volume is on one: {shown}",
                path=path,
                hint="use it in one process type with count 1, or store the files where all servers can reach "
                "them, such as S3, a database or NFS",
            )
            continue
        key = key_of(app, volume.name)
        holders = [server for server, resources in found.items() if key in resources]
        for server in servers:
            if holders and server in found and server not in holders:
                at = volume_path(app, volume.name)
                yield Diagnostic(
                    f"the data of the volume {volume.name} is on {holders[0]}, and its dynos would run on {server}",
                    path=path,
                    hint=f"stop the dynos of the volume, then on {holders[0]}: rsync -a {at}/ root@{server}:{at}/",
                )


def lost_data(
    app: str,
    volumes: Sequence[Volume],
    formation: Formation,
    evacuated: Collection[str],
    found: Resources,
    key_of: VolumeKey,
) -> list[str]:
    """A note for each volume on an ``evacuated`` server that no other server has."""
    return [
        f"the volume {volume.name} was on {server}, which is evacuated: its dynos start with an empty volume"
        for volume in volumes
        for server in sorted({*volume_users(volume, formation.before).values()} & set(evacuated))
        if not any(key_of(app, volume.name) in resources for resources in found.values())
    ]


def notes(manifest: Manifest, found: Resources, wanted: Sequence[str], key_of: VolumeKey) -> list[str]:
    """A note for each volume that is kept without a dyno using it. ``wanted`` are the addresses of the used ones."""
    app = manifest.app.name
    prefix = key_of(app, "")
    return [
        f"{server} keeps the volume {name} with its data: {volume_path(app, name)}"
        for server, resources in found.items()
        for key in resources
        if key.startswith(prefix) and f"{server}/{key}" not in wanted
        for name in [key.removeprefix(prefix)]
    ]
