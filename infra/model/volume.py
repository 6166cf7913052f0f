"""The names, paths and users of volumes, shared by planning and providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from infra.manifest.model import Volume
from infra.model import naming, paths

PROGRAM, PACKAGE = "/sbin/mkfs.ext4", "e2fsprogs"
"""What a server needs for a volume with a size."""

REMOVED, OTHER = "from a removed image", "another file system"
"""What may be mounted in place of the image of a volume."""


def volume_name(app: str, volume: str) -> str:
    """The name of the resource. App names contain no @."""
    return f"{app}@{volume}"


def volume_path(app: str, volume: str) -> str:
    """The path of the volume on its server."""
    return f"{paths.VOLUMES}/{app}/{volume}"


def volume_image(app: str, volume: str) -> str:
    """The path of the file that holds the file system of a volume with a size."""
    return f"{volume_path(app, volume)}.ext4"


def volume_unit(app: str, volume: str) -> str:
    """The name that systemd requires for the mount unit of the volume's path."""
    return "-".join(map(naming.escape, volume_path(app, volume).strip("/").split("/"))) + ".mount"


def written(size: int) -> str:
    """A size as the manifest has it, such as ``1G``."""
    return f"{size >> 30}G" if size % (1 << 30) == 0 else f"{size >> 20}M"


def with_sizes(volumes: Sequence[Volume], sizes: Mapping[str, int]) -> tuple[Volume, ...]:
    """The volumes of a release with the ``sizes`` in bytes that are in force, by name: a size belongs to the data,
    which no rollback changes."""
    return tuple(replace(volume, size=sizes.get(volume.name, 0)) for volume in volumes)


def volume_users(volume: Volume, homes: Mapping[str, str]) -> dict[str, str]:
    """The dynos that use the volume, with their servers."""
    return {
        dyno: server
        for dyno, server in sorted(homes.items(), key=lambda item: naming.dyno_order(item[0]))
        if not volume.types or naming.parse_dyno(dyno)[0] in volume.types
    }
