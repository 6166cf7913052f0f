"""A hint in the user's state directory: to which servers a manifest was applied last from here, by app.

It only says where to look. What runs there is asked of the servers; a hint that is missing, damaged or out of date
changes no plan on its own."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs

from infra.fleet.observe import Observed
from infra.manifest.model import Manifest

FORMAT = 1

LARGEST = 4 << 20
"""Maximum size of a hint in bytes."""

Servers = Mapping[str, Mapping[str, str]]
"""The connection of each server, by machine-id, as in the records."""


def read(manifest: Manifest) -> dict[str, Servers]:
    """The servers by app; {} without a hint, or if it is damaged."""
    try:
        path = _path(manifest)
        if path.stat().st_size > LARGEST:
            return {}
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    apps = value.get("apps") if isinstance(value, dict) and value.get("format_version") == FORMAT else None
    return {str(app): _servers(servers) for app, servers in apps.items()} if isinstance(apps, dict) else {}


def write(manifest: Manifest, servers: Servers) -> None:
    """Remember the servers of the manifest's app, or none. Nothing depends on it, so a failure is ignored."""
    apps = {**read(manifest), manifest.app.name: servers}
    apps = {app: known for app, known in apps.items() if known}
    with suppress(OSError):  # also where the working directory is gone
        path = _path(manifest)
        new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        if not apps:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        value = {"format_version": FORMAT, "file": str(manifest.file.resolve()), "apps": apps}
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            json.dump(value, stream, indent=1)
        new.replace(path)


def after(
    manifest: Manifest,
    found: Mapping[str, Observed],
    homes: Iterable[str],
    before: Servers,
    forgotten: Iterable[str],
    *,
    ended: bool,
) -> Servers:
    """The servers to remember after an apply: the ``homes`` of dynos and routers that were reached, and earlier ones
    that were not, or all of them if the apply did not end well (``ended``)."""
    carrying = {*homes, *(manifest.router.servers if manifest.router else ())}
    reached = {observed.facts.machine_id for observed in found.values()} if ended else set()
    kept = {machine: way for machine, way in before.items() if machine not in reached | set(forgotten)}
    now = {
        found[server.name].facts.machine_id: {
            "name": server.name,
            "host": server.host,
            "user": server.user or manifest.ssh.user or "",
            "port": str(server.port or ""),
            "gateway": manifest.ssh.gateway or "",
        }
        for server in manifest.servers
        if server.name in found and server.name in carrying
    }
    return {**kept, **now}


def _path(manifest: Manifest) -> Path:
    name = f"{manifest.file.resolve()}\n{manifest.destination or ''}"
    return (
        platformdirs.user_state_path("dynoctl") / "applied" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"
    )


def _servers(value: Any) -> Servers:
    if not isinstance(value, dict):
        return {}
    return {
        str(machine): {str(key): str(text) for key, text in way.items()}
        for machine, way in value.items()
        if isinstance(way, dict) and way.get("host")
    }
