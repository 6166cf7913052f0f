"""A hint in the user's state directory: to which servers a manifest was applied last from here, by app.

It says where to look, and which records of releases and settings are known to be true. What runs there is asked of the
servers; a hint that is missing, damaged or out of date changes no plan on its own."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs

from infra.fleet.observe import Observed
from infra.manifest.files import read_regular
from infra.manifest.model import Manifest
from infra.state.vouching import NOTHING, Known

FORMAT = 1

LARGEST = 4 << 20
"""Maximum size of a hint in bytes."""

KNOWN = 100
"""Digests of releases and of settings that are remembered."""

IDLE = "idle"
"""A key of a server on which nothing of the app runs."""

Servers = Mapping[str, Mapping[str, str]]
"""The connection of each server, by machine-id, as in the records."""


def read(manifest: Manifest) -> dict[str, Servers]:
    """The servers by app; {} without a hint, or if it is damaged."""
    apps = _value(manifest).get("apps")
    return {str(app): _servers(servers) for app, servers in apps.items()} if isinstance(apps, dict) else {}


def known(manifest: Manifest) -> Known:
    """Digests of the releases and settings of the manifest's app that were applied from here."""
    value = _value(manifest).get("known")
    entry = value.get(manifest.app.name) if isinstance(value, dict) else None
    return _known(entry) if isinstance(entry, dict) else NOTHING


def _known(entry: Mapping[str, Any]) -> Known:
    def texts(name: str) -> frozenset[str]:
        value = entry.get(name)
        return frozenset(text for text in value if isinstance(text, str)) if isinstance(value, list) else frozenset()

    return Known(texts("releases"), texts("settings"))


def _value(manifest: Manifest) -> Mapping[str, Any]:
    try:
        data = read_regular(_path(manifest), LARGEST)
        if len(data) > LARGEST:
            return {}
        value = json.loads(data.decode())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) and value.get("format_version") == FORMAT else {}


def write(manifest: Manifest, servers: Servers, release: str = "", settings: str = "") -> None:
    """Remember the servers of the manifest's app, or none, and the digests of the ``release`` and the ``settings`` that
    were applied to them. Nothing depends on it, so a failure is ignored."""
    apps = {**read(manifest), manifest.app.name: servers}
    earlier = _value(manifest).get("known")
    entry = earlier.get(manifest.app.name) if isinstance(earlier, dict) else None
    lists = {"releases": release, "settings": settings}
    digests = {
        name: _appended(entry.get(name) if isinstance(entry, dict) else None, new) for name, new in lists.items()
    }
    told = {**(earlier if isinstance(earlier, dict) else {}), manifest.app.name: digests}
    apps = {app: known for app, known in apps.items() if known}
    with suppress(OSError):  # also where the working directory is gone
        path = _path(manifest)
        new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        if not apps:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        value = {
            "format_version": FORMAT,
            "file": str(manifest.file.resolve()),
            "apps": apps,
            "known": {app: digests for app, digests in told.items() if app in apps},
        }
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            json.dump(value, stream, indent=1)
        new.replace(path)


def _appended(value: Any, new: str) -> list[str]:
    """The last digests of a list, with a new one at the end."""
    had = [text for text in value if isinstance(text, str) and text != new] if isinstance(value, list) else []
    return [*had, *([new] if new else [])][-KNOWN:]


def after(
    manifest: Manifest,
    found: Mapping[str, Observed],
    before: Servers,
    forgotten: Iterable[str],
    *,
    holding: Container[str] = (),
    idle: Container[str] = (),
    ended: bool,
) -> Servers:
    """The servers to remember after an apply: those of the manifest that were reached, and earlier ones that were not,
    or that still have something of the app (``holding``), or all of them if the apply did not end well (``ended``).
    Those that run nothing (``idle``) are marked as such: nobody misses them."""
    done = {name for name in found if name not in holding} if ended else set()
    reached = {found[name].facts.machine_id for name in done}
    kept = {machine: way for machine, way in before.items() if machine not in reached | set(forgotten)}
    now = {
        found[server.name].facts.machine_id: {
            "name": server.name,
            "host": server.host,
            "user": server.user or manifest.ssh.user or "",
            "port": str(server.port or ""),
            "gateway": manifest.ssh.gateway or "",
            **({IDLE: "yes"} if ended and server.name in idle else {}),
        }
        for server in manifest.servers
        if server.name in found
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
