"""The errors of dynos for which there is no place: too little capacity, or labels that no free server has."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from infra.errors import Diagnostic
from infra.manifest.label_semantics import NAMED, listed, shown
from infra.manifest.model import Manifest, Volume
from infra.model import naming
from infra.model.formation import CORE
from infra.model.text import quantity
from infra.model.volume import volume_users
from infra.plan.placement import DesiredDyno, Labels, Placement, ServerCapacity, Together


def labels_of(manifest: Manifest, volumes: Sequence[Volume]) -> dict[str, Labels]:
    """The labels that a server must have to run the dynos of each type: its own, and those of its volumes."""
    return {
        name: frozenset(
            [
                *type_.labels.items(),
                *(
                    item
                    for volume in volumes
                    if not volume.types or name in volume.types
                    for item in volume.labels.items()
                ),
            ]
        )
        for name, type_ in manifest.types.items()
    }


def path_of(manifest: Manifest, type_: str, key: str) -> str:
    """The path of a key of a process type or a schedule in the manifest."""
    names = [schedule.name for schedule in manifest.schedule]
    return f"schedule/{names.index(type_)}/{key}" if type_ in names else f"dynos/{type_}/{key}"


def shortages(
    manifest: Manifest,
    homeless: Mapping[str, int],
    wanted: Mapping[str, DesiredDyno],
    places: Sequence[ServerCapacity],
    homes: Mapping[str, str],
) -> list[Diagnostic]:
    """The errors of dynos without a place, by their labels. ``homeless`` is what each of them lacks in CPU quota."""
    used = {place.server: place.used for place in places}
    for dyno, home in homes.items():
        if home in used and dyno in wanted:
            used[home] += wanted[dyno].cpu
    drains = ", ".join(sorted(server.name for server in manifest.servers if server.drain))
    problems = []
    for asked in dict.fromkeys(wanted[name].labels for name in homeless):
        names = [name for name in homeless if wanted[name].labels == asked]
        like, type_ = wanted[names[0]], wanted[names[0]].type
        fitting = [place for place in places if like.labels <= place.labels]
        labels = f" with {shown(dict(like.labels))}" if like.labels else ""
        named = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        without = f", without the draining {drains}" if drains else ""
        what = f"no capacity for {quantity(len(names), 'dyno')} ({named})"
        schedule = type_ not in manifest.dynos
        path = path_of(manifest, type_, "cpu" if schedule else "count")
        if fitting:
            missing = -(-sum(homeless[name] for name in names) // 10) / 100
            lower = f"cpu of the schedule {type_}" if schedule else f"dynos.{type_}.count or dynos.{type_}.cpu"
            problem = Diagnostic(
                f"{what}: {missing:g} more cores are needed" + (f" on servers{labels}" if labels else ""),
                path=path,
                expected=_free(like.cpu, fitting, used) + without,
                hint=f"add a server{labels}, or lower {lower}, or raise placement.overcommit",
            )
        else:
            has = {server.name: server.labels for server in manifest.servers if server.dynos and not server.drain}
            problem = Diagnostic(
                f"{what}: no server{labels} takes dynos" if labels else f"{what}: no server takes dynos",
                path=path_of(manifest, type_, "servers/labels") if labels else path,
                expected=(listed(has) if labels else "a server that runs dynos") + without,
                hint=f"add a server{labels}",
            )
        problems.append(problem)
    return problems


def _free(cpu: int, places: Sequence[ServerCapacity], used: Mapping[str, int]) -> str:
    """The free places of a size on servers, as text: those with the most first."""
    free = {place.server: max(0, place.room - used[place.server]) for place in places}
    order = sorted(free, key=lambda name: -free[name])
    parts = [
        f"{free[name] // cpu if cpu else 0} on {name} ({free[name] / CORE:g} of {place.room / CORE:g})"
        for name in order[:NAMED]
        for place in places
        if place.server == name
    ]
    more = f" and {len(order) - NAMED} more servers" if len(order) > NAMED else ""
    return f"free places of {cpu / CORE:g} CPU: {', '.join(parts)}{more}"


def bound(manifest: Manifest, placed: Placement, groups: Sequence[Together]) -> list[Diagnostic]:
    """The dynos for which there is no capacity on the server that has their volume, or on any that could have it."""
    problems = []
    for group in groups:
        dynos = sorted(group.dynos & set(placed.homeless), key=naming.dyno_order)
        names, have = " and ".join(dynos), "has its volume" if len(dynos) == 1 else "has their volume"
        what = f"no server has capacity for {names} together, which share a volume"
        if group.home or len(dynos) == 1:
            what = (
                f"no capacity for {names} on {group.home}, which {have}" if group.home else f"no capacity for {names}"
            )
        if dynos:
            path = path_of(manifest, naming.parse_dyno(dynos[0])[0], "cpu")
            problems.append(Diagnostic(what, path=path, hint="lower dynos.*.cpu, or add a server with more cores"))
    return problems


def misplaced(
    manifest: Manifest,
    volumes: Sequence[Volume],
    groups: Sequence[Together],
    places: Sequence[ServerCapacity],
    wanted: Collection[str],
    *,
    new: bool = False,
) -> list[Diagnostic]:
    """The volumes that are on a server which lacks the labels of the volume, or of a type that uses it."""
    has = {place.server: place.labels for place in places}
    paths = {volume.name: f"volumes/{index}" for index, volume in enumerate(manifest.volumes)}
    problems = []
    for group in groups:
        for volume in volumes:
            users = volume_users(volume, dict.fromkeys(wanted, ""))
            if group.home not in has or not group.dynos & users.keys():
                continue
            asking = [
                (f"{paths.get(volume.name, 'volumes')}/servers/labels", f"of the volume {volume.name}", volume.labels)
            ]
            for type_ in dict.fromkeys(naming.parse_dyno(dyno)[0] for dyno in users):
                labels = manifest.types[type_].labels
                asking.append((path_of(manifest, type_, "servers/labels"), f"of {type_}, which uses it", labels))
            for path, whose, labels in asking:
                if not labels.items() <= has[group.home]:
                    problems.append(
                        Diagnostic(
                            f"the volume {volume.name} {'would be created' if new else 'is'} on {group.home}, "
                            f"which does not have the labels {whose}: {shown(labels)}",
                            path=path,
                            expected=listed({server.name: server.labels for server in manifest.servers}),
                            hint="correct the labels, or move the data first",
                        )
                    )
    return problems
