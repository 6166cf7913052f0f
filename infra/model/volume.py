"""What a volume is called, where it is and whose it is: what planning and the providers must agree on."""

from __future__ import annotations

from collections.abc import Mapping

from infra.manifest.model import Volume
from infra.model import naming

VOLUMES_ROOT = "/var/lib/dynoctl-volumes"
"""Beside the state that a destroy takes away: what is in a volume is the app's, and only a person removes it."""


def volume_name(app: str, volume: str) -> str:
    """The resource's name. No app's name holds an @."""
    return f"{app}@{volume}"


def volume_path(app: str, volume: str) -> str:
    """Where it is on its server."""
    return f"{VOLUMES_ROOT}/{app}/{volume}"


def volume_users(volume: Volume, homes: Mapping[str, str]) -> dict[str, str]:
    """The dynos that have it, with their servers."""
    return {
        dyno: server
        for dyno, server in sorted(homes.items(), key=lambda item: naming.dyno_order(item[0]))
        if not volume.types or naming.parse_dyno(dyno)[0] in volume.types
    }
