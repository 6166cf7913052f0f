"""Volumes in a plan: each is a directory on one server, so its dynos must run there, and its data does not move."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from infra.errors import Diagnostic
from infra.fleet.observe import Observed
from infra.manifest.model import Manifest, Volume
from infra.model import naming
from infra.model.formation import Formation
from infra.model.resource import Found
from infra.model.volume import OTHER, REMOVED, volume_path, volume_users, written
from infra.plan.placement import Together

Resources = Mapping[str, Mapping[str, Found]]
"""The observed resources by key, by server."""

VolumeKey = Callable[[str, str], str]
"""``Registry.volume_key``: the key of the resource of a volume, by app and volume name."""


def labelled(volumes: Sequence[Volume], manifest: Manifest) -> tuple[Volume, ...]:
    """The volumes of a release with the labels of the manifest, which are no part of a release."""
    labels = {volume.name: volume.labels for volume in manifest.volumes}
    return tuple(replace(volume, labels=labels.get(volume.name, {})) for volume in volumes)


def together(
    volumes: Sequence[Volume],
    dynos: Sequence[str],
    holders: Mapping[str, Collection[str]],
    running: Mapping[str, str],
    reserved: Mapping[str, str],
    usable: tuple[Sequence[str], Mapping[str, Collection[str]]],
) -> list[Together]:
    """The dynos that share volumes, with the server of their data. Several web dynos are not put on one server for a
    volume: they are refused if they are on several.

    ``holders`` are the servers that have a volume, by its name; ``running`` and ``reserved`` the servers of dynos as
    for ``place``; ``usable`` the servers that dynos can be placed on, all of them, and those by type that have its
    labels."""
    places, allowed = usable
    groups: list[tuple[set[str], set[str]]] = []
    for volume in volumes:
        names, users = {volume.name}, set(volume_users(volume, dict.fromkeys(dynos, "")))
        for group in [group for group in groups if group[0] & users]:
            groups.remove(group)
            users, names = users | group[0], names | group[1]
        groups.append((users, names))
    found = []
    for users, names in groups:
        if sum(naming.parse_dyno(dyno)[0] == "web" for dyno in users) > 1:
            continue
        here = [dyno for dyno in dynos if dyno in users]
        waiting = [reserved[dyno] for dyno in here if dyno in reserved]
        now = [running[dyno] for dyno in here if running.get(dyno) in places]
        data = [server for server in places if any(server in holders.get(name, ()) for name in names)]
        new = [server for server in now if all(server in allowed[naming.parse_dyno(dyno)[0]] for dyno in here)]
        best = [*waiting, *(server for server in now if server in data), *data, *new]
        found.append(Together(frozenset(users), best[0] if best else ""))
    return found


def holders(
    volumes: Sequence[Volume], found: Mapping[str, Observed], key_of: Callable[[str], str]
) -> dict[str, list[str]]:
    """The servers that have each volume, or should have it by their records: its disk may not be mounted, and an old
    copy elsewhere is not the data. ``key_of`` returns the key of the resource of a volume."""
    return {
        volume.name: [
            server
            for server, observed in found.items()
            if key_of(volume.name) in observed.resources or key_of(volume.name) in observed.facts.record
        ]
        for volume in volumes
    }


def release_server(volumes: Sequence[Volume], formation: Formation, moving: Sequence[str]) -> str | None:
    """The server for the release command, one of ``moving``: it needs the volumes of web dynos."""
    users = [user for volume in volumes for user in volume_users(volume, formation.homes).items()]
    having = {home for dyno, home in users if naming.parse_dyno(dyno)[0] == "web"}
    return min(moving, key=lambda server: server not in having, default=None)


def on(server: str, volumes: Sequence[Volume], formation: Formation) -> tuple[Volume, ...]:
    """The volumes whose dynos run on a server; others do not exist there."""
    return tuple(volume for volume in volumes if server in volume_users(volume, formation.homes).values())


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
        having = [server for server, resources in found.items() if key in resources]
        for server in servers:
            if having and server in found and server not in having:
                at = volume_path(app, volume.name)
                yield Diagnostic(
                    f"the data of the volume {volume.name} is on {having[0]}, and its dynos would run on {server}",
                    path=path,
                    hint=f"stop the dynos of the volume with their sockets, then on {having[0]}: "
                    + (
                        f"umount {at} && rsync -a --mkpath {at}.ext4 root@{server}:{at}.ext4"
                        if _size(found[having[0]][key])
                        else f"rsync -a --mkpath {at}/ root@{server}:{at}/"
                    ),
                )
            elif (seen := found.get(server, {}).get(key)) is not None:
                at = volume_path(app, volume.name)
                yield from _size_of(volume, server, seen, at, f"{path}/size" if volume.size else path)


def _size(found: Found) -> int:
    """The size of a volume in bytes, 0 without one."""
    return int(str(found.attributes.get("size", 0)))


def _size_of(volume: Volume, server: str, found: Found, at: str, path: str) -> Iterator[Diagnostic]:
    """The error of a volume that cannot get its size in place."""
    name, mounted = volume.name, found.attributes.get("mounted")
    if mounted == REMOVED:
        problem = f"the image of the volume {name} was removed from {server}, and its data goes when it is unmounted"
        copy = f'cp "$(findmnt -no SOURCE {at})" {at}.ext4'
        hint = f"stop its dynos with their sockets, then on {server}: mount -o remount,ro {at} && {copy}; umount {at}"
    elif not volume.size:
        if not _size(found) or found.attributes.get("unit") != {}:
            return
        # Its image was copied from another server. Without a size, dynos would start with an empty directory beside it.
        problem = f"the volume {name} has {written(_size(found))} on {server}, and is mounted only with a size"
        hint = f"set size of the volume to {written(_size(found))}"
    elif mounted == OTHER:
        problem = f"another file system is mounted in place of the volume {name} on {server}"
        hint = f"stop its dynos, then on {server}: umount {at}"
    elif "size" not in found.attributes:
        problem = f"the volume {name} exists on {server} without a size, and cannot get one in place"
        # Its dynos must not start with an empty directory that its files are copied to later.
        hint = (
            f"remove size; or add a volume {name}-2 with it at another path; apply; stop its dynos with their sockets; "
            f"on {server}: cp -a {at}/. {at}-2/; remove the volume {name}, give {name}-2 its path, and apply"
        )
    elif _size(found) > volume.size:
        problem = (
            f"the volume {name} has {written(_size(found))} on {server}, and cannot shrink to {written(volume.size)}"
        )
        hint = f"set size to {written(_size(found))} or more"
    else:
        return
    yield Diagnostic(problem, path=path, hint=hint)


def lost_data(
    app: str,
    volumes: Sequence[Volume],
    formation: Formation,
    lost: Mapping[str, str],
    found: Resources,
    key_of: VolumeKey,
) -> list[str]:
    """A note for each volume whose data no reachable server has. ``lost`` are, by dyno, the servers that had it and
    that are not waited for, in words."""
    return [
        f"the volume {volume.name} was on {where}: its dynos start with an empty volume"
        for volume in volumes
        for where in sorted(
            {
                lost[dyno]
                for dyno, home in volume_users(volume, formation.homes).items()
                if dyno in lost and home in found
            }
        )
        if not any(key_of(app, volume.name) in resources for resources in found.values())
    ]


def notes(manifest: Manifest, found: Resources, wanted: Sequence[str], key_of: VolumeKey) -> list[str]:
    """A note for each volume that is kept without a dyno using it, or keeps a size that the manifest has no more.
    ``wanted`` are the addresses of the used ones."""
    app = manifest.app.name
    prefix = key_of(app, "")
    unlimited = {volume.name for volume in manifest.volumes if not volume.size}
    made = []
    for server, resources in found.items():
        for key, seen in resources.items():
            name = key.removeprefix(prefix)
            if key.startswith(prefix) and f"{server}/{key}" not in wanted:
                made.append(f"{server} keeps the volume {name} with its data: {volume_path(app, name)}")
            elif key.startswith(prefix) and name in unlimited and _size(seen):
                made.append(f"the volume {name} on {server} keeps its size, {written(_size(seen))}")
    return made
