"""The names, paths and users of volumes, shared by planning and providers."""

from __future__ import annotations

from collections.abc import Mapping

from infra.manifest.model import Volume
from infra.model import naming, paths


def volume_name(app: str, volume: str) -> str:
    """The name of the resource. App names contain no @."""
    return f"{app}@{volume}"


def volume_path(app: str, volume: str) -> str:
    """The path of the volume on its server."""
    return f"{paths.VOLUMES}/{app}/{volume}"


def volume_users(volume: Volume, homes: Mapping[str, str]) -> dict[str, str]:
    """The dynos that use the volume, with their servers."""
    return {
        dyno: server
        for dyno, server in sorted(homes.items(), key=lambda item: naming.dyno_order(item[0]))
        if not volume.types or naming.parse_dyno(dyno)[0] in volume.types
    }
