"""A dyno's ``/tmp`` and ``/var/tmp``: a file system in memory with a size, mounted while the dyno runs.

``TemporaryFileSystem=`` has a size as well, but ``PrivateTmp=`` takes precedence over it, cannot be turned off together
with ``DynamicUser=``, and is on the disk of the server. A bind mount takes precedence over both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.model import naming, paths
from infra.model.provider import Fragment, Scope
from infra.model.resource import NOT_WANTED, Attributes, Change, Command, Found
from providers import drop_ins, files, ini, observed_units
from providers.base import CUT_OFF, Base

PER_FILE = 4096
"""Bytes of its size for each file that it may have."""


class Tmp(Base):
    kind = "tmp"
    headline = ("unit.Mount.Options",)

    def observe(self, scope: Scope) -> Fragment:
        return observed_units.shared(scope.app)

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        units = observed_units.read(output)
        start = paths.temporary_unit(scope.app, "").removesuffix(".mount")
        found: dict[str, Found] = {}
        for dyno in [name.removeprefix(start) for name in units.names(".mount") if name.startswith(start)]:
            if not naming.DYNO_NAME.match(dyno):
                continue  # not one of our files
            name = f"{start}{dyno}.mount"
            unit = units.settings(name)
            attributes: Attributes = {"unit": unit, "drop_ins": units.drop_ins(name)}
            # Nobody else has a unit with this name, so an empty one is what a power cut left.
            found[f"{scope.app}-{dyno}"] = Found(attributes, reason=NOT_WANTED if unit else CUT_OFF)
        return found

    def files(self, scope: Scope, change: Change) -> Sequence[str]:
        return [f"{paths.UNITS}/{paths.temporary_unit(scope.app, str(change.resource.dyno))}"]

    def undo(self, scope: Scope, change: Change) -> Sequence[Command]:
        return [files.systemctl("daemon-reload")]

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        dyno = str(change.resource.dyno)
        unit, place = paths.temporary_unit(scope.app, dyno), paths.temporary(scope.app, dyno)
        if change.after is None:
            return [
                Command(("sh", "-c", _UNMOUNT, "unmount", unit, place), label=f"unmount {place}"),
                files.remove(*files.unit_files(unit), label=f"remove {unit}"),
                files.systemctl("daemon-reload"),
            ]
        wanted = change.after["unit"]
        assert isinstance(wanted, Mapping)  # noqa: S101  # for mypy
        found = change.before or {}
        text = ini.render({key: str(value) for key, value in wanted.items()})
        return [
            *([drop_ins.revert(unit)] if found.get("drop_ins") else []),
            files.write(f"{paths.UNITS}/{unit}", text, "0644", label=f"write {unit}"),
            files.systemctl("daemon-reload"),
        ]


# systemd unmounts it when its dyno has stopped.
_UNMOUNT = """\
systemctl stop "$1" || exit
for directory in "$2" "${2%/*}" "${2%/*/*}"; do
  [ ! -d "$directory" ] || mountpoint -q "$directory" || rmdir --ignore-fail-on-non-empty "$directory" || exit
done
"""


def settings(app: str, name: str, service: str, size: int) -> dict[str, str]:
    """The mount unit of the dyno or one-off dyno ``name``, which is mounted while its ``service`` runs. ``size`` is in
    bytes."""
    limits = f"size={size},nr_inodes={max(1024, size // PER_FILE)}"
    return {
        "Unit.Description": f"temporary files of {name} of {app}",
        f"Unit.{naming.APP}": app,
        "Unit.PartOf": service,  # a restart mounts it anew, and so empties it
        "Unit.StopWhenUnneeded": "yes",
        # The default limit of five starts in 10 s would leave a dyno that crashes at once without its /tmp.
        "Unit.StartLimitIntervalSec": "0",
        "Mount.What": "tmpfs",
        "Mount.Where": paths.temporary(app, name),
        "Mount.Type": "tmpfs",
        "Mount.Options": f"rw,nosuid,nodev,mode=1777,{limits}",
        # That of the directories above it, which systemd creates, and of its own while nothing is mounted.
        "Mount.DirectoryMode": "0700",
        # Otherwise whoever has a shell in it would keep it mounted, and the next process would find the files.
        "Mount.LazyUnmount": "yes",
    }


def desired(app: str, dyno: str, size: int) -> Attributes:
    """The desired attributes of a dyno's /tmp of ``size`` bytes."""
    return {"unit": settings(app, dyno, f"{naming.user_name(app, dyno)}.service", size), "drop_ins": ()}


def binds(app: str, name: str) -> str:
    """The value of ``BindPaths=`` that puts it into the sandbox."""
    place = paths.temporary(app, name)
    return f"{place}:/tmp {place}:/var/tmp"
